//! Empties the queues: a task for each server that something waits for.

use std::{convert::Infallible, time::Duration};

use federation::Error as FederationError;
use serde_json::value::RawValue;
use storage::{
    Error,
    destinations::{self, ClaimedDestination, OutgoingTransaction},
};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use types::random;

use crate::{Delivery, metrics};

/// How many transactions a server is sent before others have their turn.
const TURN: usize = 20;
/// The most servers whose pauses a process knows.
const MAX_PAUSES: i64 = 10_000;
/// The length of the ids of transactions.
const ID_LENGTH: usize = 18;

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
        loop {
            let wait = match self.start(senders, stopping).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(%error, "The queues for other servers could not be read");
                    self.poll()
                }
            };
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
        let paused = destinations::backed_off(&mut db, MAX_PAUSES).await?;
        self.0.pauses.lock().servers = paused.into_iter().collect();
        metrics::destinations(destinations::counts(&mut db).await?);
        let next = destinations::next_retry(&mut db).await?;
        let poll = self.poll();
        Ok(next.map_or(poll, |next| next.min(poll)))
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
            let count = transaction.pdus.len();
            match self.put(destination, transaction).await {
                Ok(refused) => {
                    metrics::transaction("sent");
                    metrics::events("accepted", count.saturating_sub(refused));
                    metrics::events("refused", refused);
                }
                Err(error) if is_final(&error) => {
                    tracing::error!(server.name = %destination.server_name, %error, "Another server refuses what it is sent");
                    metrics::transaction("refused");
                }
                Err(error) => {
                    metrics::transaction("failed");
                    return self.back_off(destination, &error).await;
                }
            }
            let mut tx = self.0.database.begin().await?;
            destination.arrived(&mut tx).await?;
            tx.commit().await?;
        }
        self.release(destination).await
    }

    /// The next transaction, written down before it is sent.
    async fn begin(
        &self,
        destination: &ClaimedDestination,
    ) -> Result<Option<OutgoingTransaction>, Error> {
        let new_id =
            random::letters(ID_LENGTH).map_err(|error| Error::Corrupt(error.to_string()))?;
        let mut tx = self.0.database.begin().await?;
        let transaction = destination.begin(&mut tx, &new_id, self.0.settings.lease);
        let transaction = transaction.await?;
        tx.commit().await?;
        Ok(transaction)
    }

    /// Sends a transaction; returns how many of its events the server has refused.
    async fn put(
        &self,
        destination: &ClaimedDestination,
        transaction: OutgoingTransaction,
    ) -> Result<usize, FederationError> {
        let server_name = &destination.server_name;
        let pdus = transaction.pdus.into_iter().map(|(_, json)| json);
        let results = self.0.federation.send_transaction(
            server_name,
            &transaction.transaction_id,
            raw(pdus),
            raw(transaction.edus.into_iter()),
        );
        let mut refused = 0;
        for (event_id, result) in results.await? {
            if let Err(error) = result {
                refused += 1;
                tracing::info!(server.name = %server_name, event.id = %event_id, error, "Another server refused an event");
            }
        }
        Ok(refused)
    }

    async fn back_off(
        &self,
        destination: &ClaimedDestination,
        error: &FederationError,
    ) -> Result<(), Error> {
        let settings = &self.0.settings;
        let pause = pause(
            destination.failures,
            settings.first_pause,
            settings.max_pause,
        );
        let mut tx = self.0.database.begin().await?;
        destination
            .failed(&mut tx, pause, &error.to_string())
            .await?;
        let left_out = destination.shorten(&mut tx, settings.max_waiting);
        metrics::events("left_out", left_out.await? as usize);
        tx.commit().await
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

/// Whether repeating the transaction cannot help.
fn is_final(error: &FederationError) -> bool {
    matches!(
        error,
        FederationError::Remote {
            status: 400 | 413,
            ..
        }
    )
}

/// A pause that doubles with each failure, up to a longest one, and is shortened by up to a half: so
/// that servers that failed together are not tried together.
fn pause(failures: i32, first: Duration, longest: Duration) -> Duration {
    let doublings = u32::try_from(failures).unwrap_or_default().min(20);
    let pause = first.saturating_mul(2_u32.pow(doublings)).min(longest);
    let [random] = random::bytes::<1>().unwrap_or_default();
    pause.mul_f64(1.0 - f64::from(random) / 512.0)
}

fn raw(texts: impl Iterator<Item = String>) -> Vec<Box<RawValue>> {
    // What is stored is JSON.
    texts
        .filter_map(|text| RawValue::from_string(text).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(10));
        for (failures, full) in [(0, 1), (1, 2), (2, 4), (3, 8), (4, 10), (i32::MAX, 10)] {
            let full = Duration::from_secs(full);
            let pause = pause(failures, first, longest);
            assert!(pause <= full && pause >= full / 2, "{failures}: {pause:?}");
        }
    }
}
