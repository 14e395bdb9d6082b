//! The follower: from what is committed to what is sent.

use std::time::Duration;

use storage::{Change, ChangeKind};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use types::StreamPosition;
use worker::{Batch, Follower, Start};

use crate::{Error, Push, evaluate::UserPush};

/// What may notify somebody, or change how many notifications are unread.
const KINDS: [ChangeKind; 3] = [
    ChangeKind::Event,
    ChangeKind::Receipt,
    ChangeKind::AccountData,
];
/// How many positions are read from the tables at once.
const READ_AT_ONCE: u16 = 200;
/// How often the database is asked for pushers that another process has left waiting.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

impl Push {
    /// Sends notifications until it is told to stop; of several processes one does.
    pub async fn follow(&self, stopping: CancellationToken) -> Result<(), Error> {
        let mut follower = Follower::builder("push")
            .kinds(&KINDS)
            .from(Start::Now)
            .read_at_once(READ_AT_ONCE)
            .exclusive()
            .lease_time(self.0.settings.lease)
            .build(self.0.database.clone())
            .await?;
        // Pushers may wait since before.
        let mut retry_at = Instant::now();
        loop {
            let next = follower.next_until(Some(retry_at));
            let Some(batch) = stopping.run_until_cancelled(next).await else {
                break;
            };
            if let Some(batch) = batch?
                && self.handle(&mut follower, batch, &stopping).await?
            {
                retry_at = Instant::now();
            }
            if Instant::now() >= retry_at {
                let look_again = Instant::now() + LOOK_AGAIN;
                let next = self.retry(follower.looked_until());
                let Some(next) = stopping.run_until_cancelled(next).await else {
                    break;
                };
                retry_at = next?.map_or(look_again, |next| next.min(look_again));
            }
        }
        follower.release().await?;
        Ok(())
    }

    /// Sends what a part of the stream holds for pushers; returns whether a pusher waits now. Without
    /// anything for them, and in rooms in memory, it needs no statement.
    async fn handle(
        &self,
        follower: &mut Follower,
        mut batch: Batch,
        stopping: &CancellationToken,
    ) -> Result<bool, Error> {
        self.load_users().await?;
        let changes = std::mem::take(&mut batch.changes);
        let pushes = self.pushes(changes, batch.until());
        // What the cache waits for may not come any more; what is sent is recorded.
        let Some(pushes) = stopping.run_until_cancelled(pushes).await else {
            return Ok(false);
        };
        let pushes = pushes?;
        if pushes.is_empty() {
            follower.skip(batch).await?;
            return Ok(false);
        }
        let outcomes = self.deliver(pushes, batch.until()).await?;
        if outcomes.is_empty() {
            follower.done(batch).await?;
        } else {
            let mut tx = self.0.database.begin().await?;
            outcomes.record(&mut tx).await?;
            follower.commit(tx, batch).await?;
        }
        Ok(outcomes.has_failures())
    }

    /// What is to be sent for changes up to a position.
    async fn pushes(
        &self,
        changes: Vec<(StreamPosition, Change)>,
        until: StreamPosition,
    ) -> Result<Vec<UserPush>, Error> {
        if self.0.users.lock().is_empty() {
            return Ok(Vec::new());
        }
        self.0.live.wait_until_applied(until).await;
        let by_user = self.by_user(changes).await?;
        self.evaluate(by_user).await
    }
}
