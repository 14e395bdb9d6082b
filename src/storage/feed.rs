//! The change feed: all committed changes, in order and without gaps, of this and other processes.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior},
};
use types::StreamPosition;

use crate::{
    Change, Changes, Database, Error,
    cluster::{self, Outgoing, PeerEvent},
    stream,
};

/// Covers a lost `NOTIFY`.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A commit of this process. Without changes, a position that another process is known to have committed.
#[derive(Debug)]
pub(crate) struct CommittedBatch {
    base: StreamPosition,
    changes: Changes,
}

impl CommittedBatch {
    pub(crate) fn new(base: StreamPosition, changes: Changes) -> Self {
        Self { base, changes }
    }

    pub(crate) fn last(&self) -> StreamPosition {
        StreamPosition(self.base.get() + self.changes.len() as i64)
    }

    fn into_changes(self) -> Vec<(StreamPosition, Change)> {
        (self.base.get() + 1..)
            .zip(self.changes.into_inner())
            .map(|(position, mut change)| {
                let position = StreamPosition(position);
                if let Change::Event(change) = &mut change {
                    change.event.append_at(position);
                }
                (position, change)
            })
            .collect()
    }
}

/// A contiguous batch of changes that continues the previous one.
#[derive(Debug)]
pub struct ChangeBatch {
    /// The position up to which all changes have been yielded, this batch included.
    pub until: StreamPosition,
    /// The changes, in order.
    pub changes: Vec<(StreamPosition, Change)>,
}

/// Yields the stream in order from its position at the time the database was opened.
#[derive(Debug)]
pub struct Feed {
    database: Database,
    committed_batches: mpsc::UnboundedReceiver<CommittedBatch>,
    position: StreamPosition,
    heartbeat: Interval,
    /// Positions that other processes commit, once the listener is connected.
    peer_commits: Option<mpsc::UnboundedReceiver<StreamPosition>>,
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
            heartbeat,
            peer_commits: None,
        }
    }

    /// The position up to which changes have been yielded.
    pub fn position(&self) -> StreamPosition {
        self.position
    }

    /// Connects to the other processes on the same database: returns the tasks, to be run by the
    /// caller, that notify them of commits and that listen for theirs.
    pub fn connect_cluster(
        &mut self,
    ) -> (
        impl Future<Output = ()> + Send + 'static,
        impl Future<Output = ()> + Send + 'static,
    ) {
        let (sender, peer_commits) = mpsc::unbounded_channel();
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
    pub async fn next(&mut self) -> Result<Option<ChangeBatch>, Error> {
        loop {
            let committed = match self.next_event().await {
                FeedEvent::Closed => return Ok(None),
                FeedEvent::Committed(batch) if batch.changes.is_empty() => batch.last(),
                FeedEvent::Committed(batch) => {
                    let committed = Outgoing::Committed(batch.last());
                    self.database.cluster().send(committed);
                    if batch.base == self.position {
                        self.position = batch.last();
                        let changes = batch.into_changes();
                        return Ok(Some(ChangeBatch {
                            until: self.position,
                            changes,
                        }));
                    }
                    batch.last()
                }
                FeedEvent::PeerCommitted(position) => position,
                FeedEvent::Heartbeat => {
                    stream::position(&mut *self.database.acquire().await?).await?
                }
            };
            if committed > self.position {
                return self.read_until(committed).await.map(Some);
            }
        }
    }

    async fn read_until(&mut self, until: StreamPosition) -> Result<ChangeBatch, Error> {
        let mut snapshot = self.database.snapshot().await?;
        let changes = stream::read(&mut snapshot, self.position, until).await?;
        snapshot.commit().await?;
        self.position = until;
        self.database
            .cluster()
            .notify_subscribers(PeerEvent::Changes(&changes));
        self.database.advance(until);
        Ok(ChangeBatch { until, changes })
    }

    /// Waits for a commit of this process, a notification, or the heartbeat.
    async fn next_event(&mut self) -> FeedEvent {
        let peer_committed = async {
            match &mut self.peer_commits {
                Some(peer_commits) => peer_commits.recv().await,
                None => None,
            }
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
