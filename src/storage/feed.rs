//! The change feed: all committed changes, in order and without gaps, of this and other processes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Interval, MissedTickBehavior},
};
use types::StreamPosition;

use crate::{
    Change, Changes, Database, Error,
    cluster::{self, Outgoing},
    recent::{NextBatch, RecentBatches},
    rooms::{self, HeadChange},
    stream,
};

/// Covers a lost `NOTIFY`.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A commit of this process. Without changes, a position that another process is known to have committed.
#[derive(Debug)]
pub(crate) struct CommittedBatch {
    base: StreamPosition,
    changes: Changes,
    heads: Vec<HeadChange>,
}

impl CommittedBatch {
    fn new(base: StreamPosition, changes: Changes, heads: Vec<HeadChange>) -> Self {
        Self {
            base,
            changes,
            heads,
        }
    }

    /// No commit: a position that is known to be committed.
    pub(crate) fn position(position: StreamPosition) -> Self {
        Self::new(position, Changes::default(), Vec::new())
    }

    pub(crate) fn last(&self) -> StreamPosition {
        StreamPosition(self.base.get() + self.changes.len() as i64)
    }

    /// The changes and the heads.
    fn into_parts(self) -> (Vec<(StreamPosition, Change)>, Vec<HeadChange>) {
        let changes =
            (self.base.get() + 1..)
                .zip(self.changes.into_inner())
                .map(|(position, mut change)| {
                    let position = StreamPosition(position);
                    if let Change::Event(change) = &mut change {
                        change.event.append_at(position);
                    }
                    (position, change)
                });
        (changes.collect(), self.heads)
    }
}

/// A contiguous batch of changes that continues the previous one.
#[derive(Debug)]
pub struct ChangeBatch {
    /// The position up to which all changes have been yielded, this batch included.
    pub until: StreamPosition,
    /// The number of the process that committed all of it; none if it was read from the tables,
    /// where commits of several processes follow each other.
    pub writer: Option<i64>,
    /// The changes, in order.
    pub changes: Vec<(StreamPosition, Change)>,
    /// The heads of the rooms that were written to, as they are after all of the changes; of one
    /// room there may be several, the last of which holds.
    pub heads: Vec<HeadChange>,
}

/// Yields the stream in order from its position at the time the database was opened.
#[derive(Debug)]
pub struct Feed {
    database: Database,
    committed_batches: mpsc::UnboundedReceiver<CommittedBatch>,
    position: StreamPosition,
    /// Commits of this process that came before their predecessors, by their base.
    early: BTreeMap<StreamPosition, CommittedBatch>,
    /// The last position that is known to be committed.
    committed: StreamPosition,
    heartbeat: Interval,
    /// The last position that another process committed, once the listener is connected.
    peer_commits: Option<watch::Receiver<StreamPosition>>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.database.recent().end();
    }
}

/// The batches that a [`Feed`] yields, for one more consumer.
///
/// Bounded: a subscriber that is too far behind misses batches and receives
/// [`SubscriptionEvent::Resync`] in their place.
#[derive(Debug)]
pub struct Subscription {
    recent: RecentBatches,
    position: StreamPosition,
}

/// What a [`Subscription`] receives.
#[derive(Clone, Debug)]
pub enum SubscriptionEvent {
    /// The next batch.
    Batch(Arc<ChangeBatch>),
    /// Batches were missed: this subscriber was too slow. What was learned from changes up to its position
    /// is to be forgotten, or read again.
    Resync,
}

impl Subscription {
    /// The position up to which changes have been yielded.
    pub fn position(&self) -> StreamPosition {
        self.position
    }

    /// Waits for the next batch; `None` when the feed is gone.
    pub async fn next(&mut self) -> Option<SubscriptionEvent> {
        loop {
            match self.recent.wait_for_next(self.position).await? {
                NextBatch::Batch(batch) => {
                    self.position = batch.until;
                    return Some(SubscriptionEvent::Batch(batch));
                }
                NextBatch::Removed(reached) => {
                    tracing::warn!("A subscriber missed changes");
                    metrics::counter!("chancery_storage_feed_resyncs_total").increment(1);
                    self.position = reached;
                    return Some(SubscriptionEvent::Resync);
                }
                NextBatch::NotYet => {}
            }
        }
    }
}

enum FeedEvent {
    Committed(CommittedBatch),
    /// Another process committed up to here.
    PeerCommitted(StreamPosition),
    Heartbeat,
    Closed,
}

impl Feed {
    pub(crate) fn new(
        database: Database,
        committed_batches: mpsc::UnboundedReceiver<CommittedBatch>,
        position: StreamPosition,
    ) -> Self {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            database,
            committed_batches,
            position,
            early: BTreeMap::new(),
            committed: position,
            heartbeat,
            peer_commits: None,
        }
    }

    /// The position up to which changes have been yielded.
    pub fn position(&self) -> StreamPosition {
        self.position
    }

    /// Lets one more consumer have all batches from here on, each as soon as the feed yields it.
    pub fn subscribe(&self) -> Subscription {
        Subscription {
            recent: self.database.recent().clone(),
            position: self.position,
        }
    }

    /// Connects to the other processes on the same database: returns the tasks, to be run by the
    /// caller, that notify them of commits and that listen for theirs.
    pub fn connect_cluster(
        &mut self,
    ) -> (
        impl Future<Output = ()> + Send + 'static,
        impl Future<Output = ()> + Send + 'static,
    ) {
        let (sender, peer_commits) = watch::channel(self.position);
        self.peer_commits = Some(peer_commits);
        let outgoing = self.database.cluster().connect();
        let database = self.database.clone();
        let process = database.process().number;
        (
            cluster::notify(database.pool().clone(), process, outgoing),
            cluster::listen(database, sender),
        )
    }

    /// Waits for the next batch; `None` when the database handle is gone.
    ///
    /// An error leaves the position unchanged; the call can be repeated.
    pub async fn next(&mut self) -> Result<Option<Arc<ChangeBatch>>, Error> {
        self.database.recent().start();
        loop {
            if let Some(batch) = self.next_known().await? {
                let batch = Arc::new(batch);
                self.database.recent().push(Arc::clone(&batch));
                return Ok(Some(batch));
            }
            match self.next_event().await {
                FeedEvent::Closed => return Ok(None),
                FeedEvent::Committed(batch) => self.receive(batch),
                FeedEvent::PeerCommitted(position) => {
                    self.committed = self.committed.max(position);
                }
                FeedEvent::Heartbeat => {
                    let mut db = self.database.acquire().await?;
                    let position = stream::position(&mut db).await?;
                    self.committed = self.committed.max(position);
                }
            }
        }
    }

    /// Keeps a commit of this process until its turn.
    fn receive(&mut self, batch: CommittedBatch) {
        self.committed = self.committed.max(batch.last());
        if batch.changes.is_empty() {
            return;
        }
        let committed = Outgoing::Committed(batch.last());
        self.database.cluster().send(committed);
        // What was read from the tables meanwhile has been yielded.
        if batch.base >= self.position {
            self.early.insert(batch.base, batch);
        }
    }

    /// The next batch, if there is one: from memory, or from the tables if another process has
    /// committed it. `None` while a commit of this process is due.
    async fn next_known(&mut self) -> Result<Option<ChangeBatch>, Error> {
        if let Some(batch) = self.take_own() {
            return Ok(Some(batch));
        }
        if self.committed <= self.position {
            return Ok(None);
        }
        let is_due = self.database.is_committing(self.position..self.committed);
        // One that was due a moment ago is received by now.
        while let Ok(batch) = self.committed_batches.try_recv() {
            self.receive(batch);
        }
        if let Some(batch) = self.take_own() {
            return Ok(Some(batch));
        }
        if is_due {
            return Ok(None);
        }
        self.read().await.map(Some)
    }

    fn take_own(&mut self) -> Option<ChangeBatch> {
        let batch = self.early.remove(&self.position)?;
        self.position = batch.last();
        let (changes, heads) = batch.into_parts();
        Some(ChangeBatch {
            until: self.position,
            writer: Some(self.database.process().number),
            changes,
            heads,
        })
    }

    /// Reads all that is committed from the tables.
    async fn read(&mut self) -> Result<ChangeBatch, Error> {
        let mut snapshot = self.database.snapshot().await?;
        let until = stream::position(&mut snapshot).await?;
        let changes = stream::read(&mut snapshot, self.position, until).await?;
        let written = stream::written_rooms(&changes);
        let heads = if written.is_empty() {
            Vec::new()
        } else {
            rooms::heads(&mut snapshot, &written).await?
        };
        snapshot.commit().await?;
        metrics::counter!("chancery_storage_feed_reads_total").increment(1);
        self.position = until;
        self.committed = self.committed.max(until);
        self.early.retain(|base, _| *base >= until);
        self.database.advance(until);
        Ok(ChangeBatch {
            until,
            writer: None,
            changes,
            heads,
        })
    }

    /// Waits for a commit of this process, a notification, or the heartbeat.
    async fn next_event(&mut self) -> FeedEvent {
        let peer_committed = async {
            let peer_commits = self.peer_commits.as_mut()?;
            // The listener ends with the process.
            peer_commits.changed().await.ok()?;
            Some(*peer_commits.borrow_and_update())
        };
        tokio::select! {
            biased;
            batch = self.committed_batches.recv() => {
                batch.map_or(FeedEvent::Closed, FeedEvent::Committed)
            }
            Some(position) = peer_committed => FeedEvent::PeerCommitted(position),
            _ = self.heartbeat.tick() => FeedEvent::Heartbeat,
        }
    }
}

/// A transaction of this process whose changes have positions, until it is known how it ends: the
/// feed waits for it instead of reading its changes from the tables.
#[derive(Debug)]
pub(crate) struct Committing {
    database: Database,
    base: StreamPosition,
    is_committed: bool,
}

impl Committing {
    pub(crate) fn new(database: &Database, base: StreamPosition) -> Self {
        database.committing().lock().insert(base);
        Self {
            database: database.clone(),
            base,
            is_committed: false,
        }
    }

    /// Hands the changes and the heads to the feed; returns the last position.
    pub(crate) fn committed(mut self, changes: Changes, heads: Vec<HeadChange>) -> StreamPosition {
        let batch = CommittedBatch::new(self.base, changes, heads);
        let last = batch.last();
        self.database.send_committed(batch);
        self.is_committed = true;
        last
    }
}

impl Drop for Committing {
    fn drop(&mut self) {
        self.database.committing().lock().remove(&self.base);
        if !self.is_committed {
            // The feed must not wait any longer.
            let batch = CommittedBatch::position(StreamPosition(0));
            self.database.send_committed(batch);
        }
    }
}
