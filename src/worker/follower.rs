//! Consumers of the stream, each at its own pace, from a durable cursor.

use storage::{Change, Database, Error, cursors, stream};
use types::StreamPosition;

/// The most positions in one batch.
const BATCH_SIZE: i64 = 500;

/// Reads the stream in order, each change at least once.
///
/// A batch that was not acknowledged by [`done`](Self::done) is delivered again after a restart, so
/// processing must be idempotent. Only one process may use a name at a time.
#[derive(Debug)]
pub struct Follower {
    database: Database,
    name: &'static str,
    /// The acknowledged position.
    done: StreamPosition,
    /// The end of the last delivered batch.
    until: StreamPosition,
}

impl Follower {
    /// Resumes from the durable cursor of this name; a new one starts at the beginning of the stream.
    pub async fn resume(database: Database, name: &'static str) -> Result<Self, Error> {
        let done = cursors::find(&mut *database.acquire().await?, name).await?;
        Ok(Self {
            database,
            name,
            done,
            until: done,
        })
    }

    /// Waits for changes after the acknowledged position and returns the next batch, in order.
    ///
    /// Called again without [`done`](Self::done), it returns the same batch. A batch may be empty: a
    /// row that changed again appears at its last position only.
    pub async fn next(&mut self) -> Result<Vec<(StreamPosition, Change)>, Error> {
        let committed = self.database.committed_after(self.done).await;
        let until = committed.min(StreamPosition(self.done.get() + BATCH_SIZE));
        let mut snapshot = self.database.snapshot().await?;
        let changes = stream::read(&mut snapshot, self.done, until).await?;
        snapshot.commit().await?;
        self.until = until;
        let lag = committed.get() - self.done.get();
        metrics::gauge!("chancery_worker_follower_lag_positions", "follower" => self.name)
            .set(lag as f64);
        Ok(changes)
    }

    /// Acknowledges the last batch durably.
    pub async fn done(&mut self) -> Result<(), Error> {
        let mut db = self.database.acquire().await?;
        cursors::advance(&mut db, self.name, self.until).await?;
        self.done = self.until;
        Ok(())
    }
}
