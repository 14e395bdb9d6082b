//! Empties the queues: a task for each server that something waits for.

use std::{convert::Infallible, sync::atomic::Ordering, time::Duration};

use storage::{
    Error,
    destinations::{self, ClaimedDestination, OutgoingTransaction},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Delivery, metrics, refused,
    transaction::{Answer, MAX_PAUSES, new_id},
};

/// How many transactions a server is sent before others have their turn.
const TURN: usize = 20;

impl Delivery {
    /// Sends what is queued until it is told to stop; in any number of processes.
    pub async fn send(&self, stopping: CancellationToken) -> Result<(), Infallible> {
        let mut senders = JoinSet::new();
        let schedule = self.schedule(&mut senders, &stopping);
        stopping.run_until_cancelled(schedule).await;
        while let Some(ended) = senders.join_next().await {
            check(ended);
        }
        Ok(())
    }

    async fn schedule(&self, senders: &mut JoinSet<()>, stopping: &CancellationToken) {
        let mut surveyed: Option<Instant> = None;
        loop {
            let is_due = surveyed.is_none_or(|surveyed| surveyed.elapsed() >= self.poll());
            let started = async {
                let wait = self.start(senders, stopping).await?;
                if is_due {
                    self.survey().await?;
                }
                Ok::<_, Error>(wait)
            };
            let wait = match started.await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(%error, "The queues for other servers could not be read");
                    self.poll()
                }
            };
            if is_due {
                surveyed = Some(Instant::now());
            }
            self.0.sending.store(senders.len(), Ordering::Relaxed);
            metrics::sending(senders.len());
            tokio::select! {
                () = self.0.wake.notified() => {}
                () = sleep(wait) => {}
                Some(ended) = senders.join_next() => check(ended),
            }
        }
    }

    /// Starts a task for each server that is due, as far as more may run; returns how long there is
    /// nothing to do.
    async fn start(
        &self,
        senders: &mut JoinSet<()>,
        stopping: &CancellationToken,
    ) -> Result<Duration, Error> {
        let settings = &self.0.settings;
        if self.0.federation.policy().is_closed() {
            return Ok(self.poll());
        }
        let mut db = self.0.database.acquire().await?;
        let contacted = std::mem::take(&mut self.0.pauses.lock().contacted);
        if !contacted.is_empty() {
            destinations::end_back_off(&mut db, &contacted).await?;
        }
        let free = settings.parallel.saturating_sub(senders.len());
        if free > 0 {
            let holder = self.0.database.process();
            let claimed = destinations::claim(&mut db, holder, free as i64, settings.lease);
            for destination in claimed.await? {
                let (delivery, stopping) = (self.clone(), stopping.clone());
                senders.spawn(async move { delivery.send_to(destination, stopping).await });
            }
        }
        let next = destinations::next_retry(&mut db).await?;
        let poll = self.poll();
        Ok(next.map_or(poll, |next| next.min(poll)))
    }

    /// Looks at all servers now and then: which are not tried for a while, and how many are in which state.
    async fn survey(&self) -> Result<(), Error> {
        if self.0.federation.policy().is_closed() {
            return Ok(());
        }
        let mut db = self.0.database.acquire().await?;
        let paused = destinations::backed_off(&mut db, MAX_PAUSES).await?;
        self.0.pauses.lock().servers = paused.into_iter().collect();
        metrics::destinations(destinations::counts(&mut db).await?);
        Ok(())
    }

    /// How often a process looks for work that others have left or queued.
    fn poll(&self) -> Duration {
        self.0.settings.lease / 3
    }

    async fn send_to(&self, destination: ClaimedDestination, stopping: CancellationToken) {
        let sent = tokio::select! {
            sent = self.take_turn(&destination) => sent,
            lost = self.keep(&destination) => Err(lost),
            () = stopping.cancelled() => self.release(&destination).await,
        };
        // After a failure of the database the claim runs out.
        if let Err(error) = sent {
            let server_name = &destination.server_name;
            tracing::warn!(server.name = %server_name, %error, "Sending to another server was interrupted");
        }
    }

    /// Gives signs of life until the claim is lost.
    async fn keep(&self, destination: &ClaimedDestination) -> Error {
        let time = self.0.settings.lease;
        loop {
            sleep(time / 3).await;
            let renewed = async {
                let mut db = self.0.database.acquire().await?;
                destination.renew(&mut db, time).await
            };
            if let Err(error) = renewed.await {
                return error;
            }
        }
    }

    /// Sends transactions until nothing waits, one fails, or others should have their turn.
    async fn take_turn(&self, destination: &ClaimedDestination) -> Result<(), Error> {
        for _ in 0..TURN {
            let Some(transaction) = self.begin(destination).await? else {
                return Ok(());
            };
            let arrived = match self.put(destination, &transaction).await? {
                Answer::Arrived => true,
                Answer::Refused(error) => {
                    refused::send_parts(self, destination, transaction, error).await?
                }
                Answer::Failed => false,
            };
            if !arrived {
                return Ok(());
            }
        }
        self.release(destination).await
    }

    /// The next transaction, written down before it is sent.
    async fn begin(
        &self,
        destination: &ClaimedDestination,
    ) -> Result<Option<OutgoingTransaction>, Error> {
        let mut tx = self.0.database.begin().await?;
        let transaction_id = new_id()?;
        let transaction = destination.begin(&mut tx, &transaction_id, self.0.settings.lease);
        let transaction = transaction.await?;
        tx.commit().await?;
        Ok(transaction)
    }

    async fn release(&self, destination: &ClaimedDestination) -> Result<(), Error> {
        destination
            .release(&mut *self.0.database.acquire().await?)
            .await
    }
}

/// A panic of a task; what it had claimed is claimed again later.
fn check(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "Sending to another server failed");
    }
}
