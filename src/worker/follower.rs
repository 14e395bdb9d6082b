//! Whoever acts on what was committed, each at its own pace, from a cursor that survives restarts.

use storage::{Change, Database, Error, cursors, stream};
use types::StreamPosition;

/// Positions that are handed out at once, at the most.
const STRETCH: i64 = 500;

/// Reads the stream in order, each change at least once.
///
/// What was handed out and not marked as [`done`](Self::done) is handed out again after a restart:
/// whatever a follower does must be safe to do twice. Two processes must not follow under one name
/// at the same time.
#[derive(Debug)]
pub struct Follower {
    database: Database,
    name: &'static str,
    /// Everything up to here is done.
    done: StreamPosition,
    /// Everything up to here has been handed out.
    until: StreamPosition,
}

impl Follower {
    /// Takes up the work where the follower of this name left it; a new one begins at the beginning.
    pub async fn resume(database: Database, name: &'static str) -> Result<Self, Error> {
        let done = cursors::find(&mut *database.acquire().await?, name).await?;
        Ok(Self {
            database,
            name,
            done,
            until: done,
        })
    }

    /// Waits for changes after those that are done, and hands out the next of them, in order.
    ///
    /// Called again without [`done`](Self::done), it hands out the same ones. There may be none:
    /// a later change of the same thing stands at its later position only.
    pub async fn next(&mut self) -> Result<Vec<(StreamPosition, Change)>, Error> {
        let committed = self.database.committed_after(self.done).await;
        let until = committed.min(StreamPosition(self.done.get() + STRETCH));
        let mut snapshot = self.database.snapshot().await?;
        let changes = stream::read(&mut snapshot, self.done, until).await?;
        snapshot.commit().await?;
        self.until = until;
        let lag = committed.get() - self.done.get();
        metrics::gauge!("chancery_worker_follower_lag_positions", "follower" => self.name)
            .set(lag as f64);
        Ok(changes)
    }

    /// Marks what was handed out last as done, durably.
    pub async fn done(&mut self) -> Result<(), Error> {
        let mut db = self.database.acquire().await?;
        cursors::advance(&mut db, self.name, self.until).await?;
        self.done = self.until;
        Ok(())
    }
}
