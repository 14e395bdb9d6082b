//! Consumers of the stream, each at its own pace, from a cursor that survives restarts.

use std::time::Duration;

use storage::{
    Change, ChangeKind, Database, Error, Lease, Tx, UserChanges, cursors, leases, stream,
};
use tokio::time::{Instant, sleep};
use types::StreamPosition;

/// The most positions that one batch covers.
const BATCH: i64 = 500;
/// How long the lease of an exclusive follower lasts without being renewed.
const LEASE: Duration = Duration::from_secs(30);
/// How often a follower asks for a lease that another process holds.
const RETRY: Duration = Duration::from_secs(1);

/// Where a follower begins that never ran before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With all that was ever committed.
    Beginning,
    /// With what is committed from now on.
    Now,
}

/// What a follower is to be.
#[derive(Clone, Debug)]
pub struct FollowerBuilder {
    name: &'static str,
    kinds: Vec<ChangeKind>,
    start: Start,
    is_exclusive: bool,
    lease: Duration,
}

/// Reads the stream in order, each change at least once.
///
/// A batch that was not [committed](Self::commit) is returned again after a restart. What is written
/// in the transaction that commits the batch happens once; everything else that a follower does must
/// be safe to do twice.
#[derive(Debug)]
pub struct Follower {
    database: Database,
    name: &'static str,
    kinds: Vec<ChangeKind>,
    /// How long leases last; none if several processes may follow under one name.
    lease_time: Option<Duration>,
    lease: Option<(Lease, Instant)>,
    position: StreamPosition,
}

/// A contiguous part of the stream: the changes of the follower's kinds.
#[derive(Debug)]
pub struct Batch {
    /// The changes, in order. There may be none: a row that changed again later is found at its last
    /// position only.
    pub changes: Vec<(StreamPosition, Change)>,
    from: StreamPosition,
    until: StreamPosition,
}

impl Batch {
    /// The position before the first that the batch covers.
    pub fn from(&self) -> StreamPosition {
        self.from
    }

    /// The last position that the batch covers.
    pub fn until(&self) -> StreamPosition {
        self.until
    }
}

impl FollowerBuilder {
    /// Reads changes of these kinds only, from their tables alone.
    #[must_use]
    pub fn kinds(mut self, kinds: &[ChangeKind]) -> Self {
        self.kinds = kinds.to_vec();
        self
    }

    /// Where to begin when no follower of this name ever ran.
    #[must_use]
    pub fn from(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Lets one process at a time follow under this name.
    #[must_use]
    pub fn exclusive(mut self) -> Self {
        self.is_exclusive = true;
        self
    }

    /// How long the lease of an exclusive follower lasts.
    #[must_use]
    pub fn lease_time(mut self, time: Duration) -> Self {
        self.lease = time;
        self
    }

    /// Continues where the last follower of this name left off.
    pub async fn build(self, database: Database) -> Result<Follower, Error> {
        let mut db = database.acquire().await?;
        let start = match self.start {
            Start::Beginning => StreamPosition(0),
            Start::Now => stream::position(&mut db).await?,
        };
        let position = cursors::insert(&mut db, self.name, start).await?;
        drop(db);
        Ok(Follower {
            database,
            name: self.name,
            kinds: self.kinds,
            lease_time: self.is_exclusive.then_some(self.lease),
            lease: None,
            position,
        })
    }
}

impl Follower {
    /// A follower of all kinds of changes, from the beginning, in any number of processes.
    pub fn builder(name: &'static str) -> FollowerBuilder {
        FollowerBuilder {
            name,
            kinds: ChangeKind::ALL.to_vec(),
            start: Start::Beginning,
            is_exclusive: false,
            lease: LEASE,
        }
    }

    /// Waits for changes after the last batch that was committed, and returns the next ones.
    ///
    /// An exclusive follower waits until no other process follows under its name, too.
    pub async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            if !self.hold_lease().await? {
                sleep(RETRY).await;
                continue;
            }
            let committed = self.database.committed_after(self.position);
            let committed = match self.lease_time {
                None => committed.await,
                Some(time) => {
                    let Ok(committed) = tokio::time::timeout(time / 3, committed).await else {
                        continue;
                    };
                    committed
                }
            };
            return self.read(committed).await;
        }
    }

    /// Takes or renews the lease when it is time; `false` while another process has it.
    async fn hold_lease(&mut self) -> Result<bool, Error> {
        let Some(time) = self.lease_time else {
            return Ok(true);
        };
        let now = Instant::now();
        if let Some((lease, renewed)) = &mut self.lease {
            if renewed.elapsed() < time / 3 {
                return Ok(true);
            }
            if lease
                .renew(&mut *self.database.acquire().await?, time)
                .await?
            {
                *renewed = now;
                return Ok(true);
            }
            self.lease = None;
        }
        let mut db = self.database.acquire().await?;
        let holder = self.database.process();
        let Some(lease) = leases::acquire(&mut db, &self.lease_name(), holder, time).await? else {
            return Ok(false);
        };
        // Another process may have gone on.
        if let Some(position) = cursors::find(&mut db, self.name).await? {
            self.position = position;
        }
        self.lease = Some((lease, now));
        Ok(true)
    }

    async fn read(&self, committed: StreamPosition) -> Result<Batch, Error> {
        let from = self.position;
        let until = committed.min(StreamPosition(from.get() + BATCH));
        let mut snapshot = self.database.snapshot().await?;
        let changes = stream::read_kinds(&mut snapshot, from, until, &self.kinds).await?;
        snapshot.commit().await?;
        let lag = committed.get() - from.get();
        metrics::gauge!("chancery_worker_follower_lag_positions", "follower" => self.name)
            .set(lag as f64);
        Ok(Batch {
            changes,
            from,
            until,
        })
    }

    /// Moves the cursor behind a batch, in the transaction that writes its effect, and commits both.
    ///
    /// Fails, and writes nothing, if another process has taken over.
    pub async fn commit(&mut self, tx: Tx, batch: Batch) -> Result<(), Error> {
        self.commit_with(tx, batch, UserChanges::new()).await
    }

    /// The same with changes that clients learn about.
    pub async fn commit_with(
        &mut self,
        mut tx: Tx,
        batch: Batch,
        changes: UserChanges,
    ) -> Result<(), Error> {
        if let Some((lease, _)) = &self.lease
            && let Err(error) = lease.check(&mut tx).await
        {
            self.lease = None;
            return Err(error);
        }
        if !cursors::advance(&mut tx, self.name, batch.from, batch.until).await? {
            return Err(Error::LeaseLost {
                name: self.lease_name(),
            });
        }
        tx.commit_with(changes).await?;
        self.position = batch.until;
        Ok(())
    }

    /// Moves the cursor behind a batch that has no effect in the database.
    pub async fn done(&mut self, batch: Batch) -> Result<(), Error> {
        let tx = self.database.begin().await?;
        self.commit(tx, batch).await
    }

    /// Lets another process follow under this name at once.
    pub async fn release(&mut self) -> Result<(), Error> {
        if let Some((lease, _)) = self.lease.take() {
            lease.release(&mut *self.database.acquire().await?).await?;
        }
        Ok(())
    }

    fn lease_name(&self) -> String {
        format!("follower {}", self.name)
    }
}
