//! Consumers of the stream, each at its own pace, from a cursor that survives restarts.

use std::time::Duration;

use storage::{
    Change, ChangeKind, Connection, Database, Error, Lease, NextChanges, Tx, UserChanges, cursors,
    leases, stream,
};
use tokio::time::{Instant, sleep};
use types::StreamPosition;

/// The most positions that one batch covers, but for a state change that belongs to the last event.
const BATCH: i64 = 500;
/// How long the lease of an exclusive follower lasts without being renewed.
const LEASE: Duration = Duration::from_secs(30);
/// How often a follower asks for a lease that another process holds.
const RETRY: Duration = Duration::from_secs(1);
/// After how many positions without an effect the cursor is written.
const MAX_UNSAVED: i64 = 10_000;

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
    read_at_once: i64,
}

/// Reads the stream in order, each change at least once: from the memory of the feed, or from the
/// tables if it is further behind.
///
/// A batch that was not [committed](Self::commit) is returned again after a restart. What is written
/// in the transaction that commits the batch happens once; everything else that a follower does must
/// be safe to do twice.
#[derive(Debug)]
pub struct Follower {
    database: Database,
    name: &'static str,
    kinds: Vec<ChangeKind>,
    /// The most positions that are read from the tables at once.
    read_at_once: i64,
    /// How long leases last; none if several processes may follow under one name.
    lease_time: Option<Duration>,
    lease: Option<(Lease, Instant)>,
    /// The end of the last batch that was committed or skipped.
    position: StreamPosition,
    /// How far there is nothing of the follower's kinds.
    looked_until: StreamPosition,
    /// The cursor in the database.
    saved: StreamPosition,
}

/// A contiguous part of the stream: the changes of the follower's kinds.
#[derive(Debug)]
pub struct Batch {
    /// The changes, in order: a state change is in the batch of the event that caused it. There may be
    /// none: in the tables a row that changed again later is found at its last position only.
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
    /// Takes changes of these kinds only; of what is not in memory, only their tables are read.
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

    /// How many positions are read from the tables at once, where changes may be large.
    #[must_use]
    pub fn read_at_once(mut self, positions: u16) -> Self {
        self.read_at_once = positions.into();
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
            read_at_once: self.read_at_once,
            lease_time: self.is_exclusive.then_some(self.lease),
            lease: None,
            position,
            looked_until: position,
            saved: position,
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
            read_at_once: BATCH,
        }
    }

    /// Waits for changes after the last batch that was committed or skipped, and returns the next ones.
    ///
    /// An exclusive follower waits until no other process follows under its name, too.
    pub async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            if let Some(batch) = self.next_until(None).await? {
                return Ok(batch);
            }
        }
    }

    /// The same, but returns `None` when there is nothing until a time, while no other process follows
    /// under this name.
    pub async fn next_until(&mut self, deadline: Option<Instant>) -> Result<Option<Batch>, Error> {
        loop {
            if !self.hold_lease().await? {
                sleep(RETRY).await;
                continue;
            }
            let next = self
                .database
                .changes_after(self.looked_until, BATCH, &self.kinds);
            let renewal = self.lease_time.map(|time| Instant::now() + time / 3);
            let next = match deadline.into_iter().chain(renewal).min() {
                None => next.await,
                Some(until) => match tokio::time::timeout_at(until, next).await {
                    Ok(next) => next,
                    Err(_) if deadline == Some(until) => return Ok(None),
                    Err(_) => continue,
                },
            };
            let lag = self.database.committed().get() - self.looked_until.get();
            metrics::gauge!("chancery_worker_follower_lag_positions", "follower" => self.name)
                .set(lag as f64);
            match next {
                NextChanges::InTables(committed) => {
                    let batch = self.read(committed).await?;
                    if !batch.changes.is_empty() {
                        return Ok(Some(batch));
                    }
                    self.skip(batch).await?;
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Ok(None);
                    }
                }
                NextChanges::InMemory { changes, until } if changes.is_empty() => {
                    self.looked_until = until;
                    self.save_if_far().await?;
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Ok(None);
                    }
                }
                NextChanges::InMemory { changes, until } => {
                    return Ok(Some(Batch {
                        changes,
                        from: self.position,
                        until,
                    }));
                }
            }
        }
    }

    /// Takes or renews the lease when it is time, and then writes the cursor, too; `false` while another
    /// process has it.
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
                self.save().await?;
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
            self.stand_at(position);
        }
        self.lease = Some((lease, now));
        Ok(true)
    }

    fn stand_at(&mut self, position: StreamPosition) {
        self.position = position;
        self.looked_until = position;
        self.saved = position;
    }

    async fn read(&self, committed: StreamPosition) -> Result<Batch, Error> {
        let after = self.looked_until;
        let mut until = committed.min(StreamPosition(after.get() + self.read_at_once));
        let mut snapshot = self.database.snapshot().await?;
        if until < committed {
            until = stream::batch_end(&mut snapshot, until).await?;
        }
        let changes = stream::read_kinds(&mut snapshot, after, until, &self.kinds).await?;
        snapshot.commit().await?;
        Ok(Batch {
            changes,
            from: self.position,
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
        self.advance(&mut tx, batch.until).await?;
        tx.commit_with(changes).await?;
        self.stand_at(batch.until);
        Ok(())
    }

    /// Moves the cursor behind a batch that has no effect in the database.
    pub async fn done(&mut self, batch: Batch) -> Result<(), Error> {
        self.skip(batch).await?;
        self.save().await
    }

    /// Up to where all was returned and committed or skipped.
    pub fn looked_until(&self) -> StreamPosition {
        self.looked_until
    }

    /// Moves past a batch that needed nothing. The cursor is not written for each: after a kill some of
    /// them are returned again.
    pub async fn skip(&mut self, batch: Batch) -> Result<(), Error> {
        self.position = batch.until;
        self.looked_until = batch.until;
        self.save_if_far().await
    }

    /// Lets another process follow under this name at once.
    pub async fn release(&mut self) -> Result<(), Error> {
        self.save().await?;
        if let Some((lease, _)) = self.lease.take() {
            lease.release(&mut *self.database.acquire().await?).await?;
        }
        Ok(())
    }

    async fn save_if_far(&mut self) -> Result<(), Error> {
        if self.looked_until.get() - self.saved.get() < MAX_UNSAVED {
            return Ok(());
        }
        self.save().await
    }

    /// Writes the cursor, if it has moved.
    async fn save(&mut self) -> Result<(), Error> {
        let until = self.looked_until;
        if until > self.saved {
            let mut db = self.database.acquire().await?;
            self.advance(&mut db, until).await?;
            self.saved = until;
        }
        Ok(())
    }

    /// Moves the cursor in the database, unless another process has taken over.
    async fn advance(&mut self, db: &mut Connection, until: StreamPosition) -> Result<(), Error> {
        let lease = self.lease.as_ref().map(|(lease, _)| lease);
        if cursors::advance(db, self.name, (self.saved, until), lease).await? {
            return Ok(());
        }
        self.lease = None;
        Err(Error::LeaseLost {
            name: self.lease_name(),
        })
    }

    fn lease_name(&self) -> String {
        format!("follower {}", self.name)
    }
}
