//! Events of rooms that take long: their transaction is answered once they are stored, and they are
//! taken in behind.
//!
//! What an answer does not wait for is in the inbox (`storage::inbox`): a crash loses nothing, and a slow
//! room holds up no other. The events of a room keep their order: while some wait, later ones go the
//! same way.

use std::{collections::HashSet, convert::Infallible, time::Duration};

use parking_lot::Mutex;
use ruma::{OwnedRoomId, RoomId};
use serde_json::value::RawValue;
use storage::inbox::{self, ClaimedBatch, NewBatch};
use tokio::{
    sync::Notify,
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{Error, Rooms};

/// The most rooms whose events are taken in at once.
const PARALLEL: usize = 16;
/// How long a process may do without a sign of life before another one takes a batch over, and how often
/// it is looked for such.
const LEASE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_secs(10);
/// How long an attempt may take.
const ATTEMPT: Duration = Duration::from_mins(10);
/// How often a batch is tried, and the pause after the first failure, which doubles with each one.
const MAX_ATTEMPTS: i32 = 6;
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// What this process knows of the inbox.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// The rooms for which events wait. Those that another process has stored may be missing: then
    /// later ones come before them, as from another server.
    rooms: Mutex<HashSet<OwnedRoomId>>,
    stored: Notify,
}

impl Inbox {
    pub(super) fn has(&self, room_id: &RoomId) -> bool {
        self.rooms.lock().contains(room_id)
    }
}

impl Rooms {
    /// Stores events that are to be taken in behind. Fails if too many wait already.
    pub(super) async fn defer(&self, batch: NewBatch<'_>) -> Result<(), Error> {
        let inbox = &self.0.inbox;
        let room_id = batch.room_id.to_owned();
        let stored = {
            let mut db = self.0.database.acquire().await?;
            inbox::insert(&mut db, batch).await?
        };
        if !stored {
            return Err(Error::InboxFull);
        }
        inbox.rooms.lock().insert(room_id);
        inbox.stored.notify_one();
        Ok(())
    }

    /// Takes the events in the inbox into their rooms until it is told to stop; in any number of
    /// processes.
    pub async fn work_off_inbox(&self, stopping: CancellationToken) -> Result<(), Infallible> {
        let mut workers = JoinSet::new();
        let working = self.run_inbox(&mut workers, &stopping);
        stopping.run_until_cancelled(working).await;
        while let Some(ended) = workers.join_next().await {
            check(ended);
        }
        Ok(())
    }

    async fn run_inbox(&self, workers: &mut JoinSet<()>, stopping: &CancellationToken) {
        let mut is_known = false;
        loop {
            let started = async {
                if !is_known {
                    let mut db = self.0.database.acquire().await?;
                    let rooms = inbox::rooms(&mut db).await?;
                    self.0.inbox.rooms.lock().extend(rooms);
                    is_known = true;
                }
                self.start_batches(workers, stopping).await
            };
            if let Err(error) = started.await {
                tracing::warn!(%error, "Received events that wait could not be read");
            }
            tokio::select! {
                () = self.0.inbox.stored.notified() => {}
                () = sleep(POLL) => {}
                Some(ended) = workers.join_next() => check(ended),
            }
        }
    }

    async fn start_batches(
        &self,
        workers: &mut JoinSet<()>,
        stopping: &CancellationToken,
    ) -> Result<(), Error> {
        let free = PARALLEL.saturating_sub(workers.len());
        if free == 0 {
            return Ok(());
        }
        let claimed = {
            let mut db = self.0.database.acquire().await?;
            inbox::claim(&mut db, free as i64, LEASE).await?
        };
        for batch in claimed {
            let (rooms, stopping) = (self.clone(), stopping.clone());
            workers.spawn(async move { rooms.work_off(&batch, &stopping).await });
        }
        Ok(())
    }

    async fn work_off(&self, batch: &ClaimedBatch, stopping: &CancellationToken) {
        let worked_off = tokio::select! {
            worked_off = self.try_batch(batch) => worked_off,
            lost = self.keep(batch) => lost,
            () = stopping.cancelled() => self.release(batch).await,
        };
        // After a failure of the database the claim runs out.
        if let Err(error) = worked_off {
            tracing::warn!(room.id = %batch.room_id, server.name = %batch.origin, %error, "Received events that wait could not be worked off");
        }
    }

    /// Takes the events of a batch in. Those that fail again and again for whatever reason are given
    /// up; they come with what follows them, if at all.
    async fn try_batch(&self, batch: &ClaimedBatch) -> Result<(), Error> {
        let events: Vec<Box<RawValue>> = serde_json::from_str(&batch.pdus).unwrap_or_default();
        let received = Box::pin(self.receive(&batch.origin, &batch.room_id, events));
        let failure = match timeout(ATTEMPT, received).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("It took too long".to_owned()),
        };
        let mut db = self.0.database.acquire().await?;
        match failure {
            Some(error) if batch.failures + 1 < MAX_ATTEMPTS => {
                tracing::info!(room.id = %batch.room_id, server.name = %batch.origin, error, "Received events are tried again later");
                let pause = FIRST_PAUSE.saturating_mul(1 << batch.failures.clamp(0, MAX_ATTEMPTS));
                batch.failed(&mut db, pause).await?;
            }
            failure => {
                if let Some(error) = failure {
                    tracing::error!(room.id = %batch.room_id, server.name = %batch.origin, error, "Received events are given up");
                }
                batch.delete(&mut db).await?;
                if !inbox::has_room(&mut db, &batch.room_id).await? {
                    self.0.inbox.rooms.lock().remove(&batch.room_id);
                }
            }
        }
        Ok(())
    }

    /// Gives signs of life until another process has the batch.
    async fn keep(&self, batch: &ClaimedBatch) -> Result<(), Error> {
        loop {
            sleep(LEASE / 3).await;
            let mut db = self.0.database.acquire().await?;
            if !batch.renew(&mut db, LEASE).await? {
                return Ok(());
            }
        }
    }

    async fn release(&self, batch: &ClaimedBatch) -> Result<(), Error> {
        let mut db = self.0.database.acquire().await?;
        Ok(batch.release(&mut db).await?)
    }
}

/// A panic of a task; what it had claimed is claimed again later.
fn check(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "Working off received events failed");
    }
}
