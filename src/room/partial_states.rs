//! Rooms that were joined without the events of most members: the whole state is fetched behind.
//!
//! MSC3706, MSC3902. Users of this server are in the room at once. What comes meanwhile is judged by what is known
//! (`append/received/claimed.rs`), and once more when the whole state is (`append/received/recheck.rs`). Any process
//! goes on after a restart: a lease in `storage::partial_states` says which one.

mod complete;
mod fetch;

use std::{convert::Infallible, time::Duration};

use futures::{StreamExt as _, stream};
use ruma::RoomId;
use storage::partial_states::{self, ClaimedRoom};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{Error, Rooms, head::Head};

/// How many rooms are worked on at once.
const PARALLEL: usize = 8;
/// How long a process is taken to work on a room without a sign of life.
const LEASE: Duration = Duration::from_secs(30);
/// How often it is looked for rooms that other processes have left.
const POLL: Duration = Duration::from_secs(10);
/// The pause after a first failure, twice as long after each further one, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_mins(10);
/// How long a client waits at the most for a room's whole state.
const MAX_WAIT: Duration = Duration::from_mins(5);

/// Wakes the task that completes states.
#[derive(Debug, Default)]
pub(crate) struct PartialStates {
    begun: Notify,
}

impl PartialStates {
    /// Has a room looked at that was joined a moment ago.
    pub(crate) fn notify(&self) {
        self.begun.notify_one();
    }
}

impl Rooms {
    /// Completes the states of rooms until it is told to stop; in any number of processes.
    pub async fn complete_states(&self, stopping: CancellationToken) -> Result<(), Infallible> {
        let claimed = stream::unfold((), |()| async {
            let claimed = stopping.run_until_cancelled(self.claim_partial_room());
            Some((claimed.await?, ()))
        });
        claimed
            .for_each_concurrent(PARALLEL, |room| self.work_on(room, &stopping))
            .await;
        Ok(())
    }

    /// The next room of which parts of the state are not known; waits for one.
    async fn claim_partial_room(&self) -> ClaimedRoom {
        loop {
            let begun = self.0.partial_states.begun.notified();
            let claim = async {
                let mut db = self.0.database.acquire().await?;
                let mut claimed = partial_states::claim(&mut db, 1, LEASE).await?;
                let next = partial_states::next_claim(&mut db).await?;
                let count = partial_states::count(&mut db).await?;
                metrics::gauge!("chancery_room_partial_states").set(count as f64);
                Ok::<_, storage::Error>((claimed.pop(), next))
            };
            let wait = match claim.await {
                Ok((Some(claimed), _)) => return claimed,
                Ok((None, next)) => next.map_or(POLL, |next| next.min(POLL)),
                Err(error) => {
                    tracing::warn!(%error, "Rooms with a partial state could not be looked for");
                    POLL
                }
            };
            tokio::select! {
                () = begun => {}
                () = sleep(wait) => {}
            }
        }
    }

    async fn work_on(&self, room: ClaimedRoom, stopping: &CancellationToken) {
        let completed = tokio::select! {
            completed = Box::pin(self.complete_state(&room.room_id)) => completed,
            () = self.keep_claim(&room) => return,
            () = stopping.cancelled() => {
                let released = async {
                    let mut db = self.0.database.acquire().await?;
                    room.release(&mut db).await
                };
                if let Err(error) = released.await {
                    tracing::warn!(room.id = %room.room_id, %error, "A room was not left to others");
                }
                return;
            }
        };
        let Err(error) = completed else {
            return;
        };
        let pause = pause(room.failures);
        tracing::info!(room.id = %room.room_id, %error, retry_in_ms = pause.as_millis() as u64, "The state of a room could not be completed yet");
        let failed = async {
            let mut db = self.0.database.acquire().await?;
            room.failed(&mut db, pause).await
        };
        if let Err(error) = failed.await {
            tracing::warn!(room.id = %room.room_id, %error, "A failure was not noted");
        }
    }

    /// Gives signs of life; ends when another process has taken the room.
    async fn keep_claim(&self, room: &ClaimedRoom) {
        loop {
            sleep(LEASE / 3).await;
            let renewed = async {
                let mut db = self.0.database.acquire().await?;
                room.renew(&mut db, LEASE).await
            };
            match renewed.await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(room.id = %room.room_id, %error, "A lease was not renewed");
                }
            }
        }
    }

    /// The head of a room once its whole state is known. Fails if that takes too long.
    pub(crate) async fn whole_head(&self, room_id: &RoomId) -> Result<Head, Error> {
        let whole = async {
            loop {
                let completed = self.0.live.state_completed();
                tokio::pin!(completed);
                completed.as_mut().enable();
                let head = self.head(room_id).await?;
                if !head.state.is_partial() {
                    return Ok(head);
                }
                completed.await;
            }
        };
        let whole = timeout(MAX_WAIT, whole).await;
        whole.unwrap_or(Err(Error::PartialState))
    }
}

fn pause(failures: i32) -> Duration {
    let doublings = u32::try_from(failures).unwrap_or_default().min(16);
    let pause = FIRST_PAUSE.saturating_mul(2_u32.pow(doublings));
    pause.min(MAX_PAUSE)
}
