//! What has been committed, in order and without gaps, by this process and the others.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior},
};
use types::StreamPosition;

use crate::{
    Change, Changes, Database, Error,
    peers::{self, Heard, Said},
    stream,
};

/// Covers a lost `NOTIFY`.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A commit of this process; without changes it is one of another that was found by chance.
#[derive(Debug)]
pub(crate) struct Announcement {
    base: StreamPosition,
    changes: Changes,
}

impl Announcement {
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
                    change.event.position = position;
                }
                (position, change)
            })
            .collect()
    }
}

/// A stretch of the stream that continues the one before it.
#[derive(Debug)]
pub struct Stretch {
    /// Everything up to this position has been handed out with this stretch.
    pub until: StreamPosition,
    /// The changes, in order.
    pub changes: Vec<(StreamPosition, Change)>,
}

/// Yields the stream in order from where it stood when the database was opened.
#[derive(Debug)]
pub struct Feed {
    database: Database,
    announcements: mpsc::UnboundedReceiver<Announcement>,
    position: StreamPosition,
    heartbeat: Interval,
    /// What other processes commit, once this one is connected with them.
    committed_there: Option<mpsc::UnboundedReceiver<StreamPosition>>,
}

enum Woken {
    Announced(Announcement),
    /// Another process committed up to here.
    Notified(StreamPosition),
    Heartbeat,
    Ended,
}

impl Feed {
    pub(crate) fn new(
        database: Database,
        announcements: mpsc::UnboundedReceiver<Announcement>,
        position: StreamPosition,
    ) -> Self {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            database,
            announcements,
            position,
            heartbeat,
            committed_there: None,
        }
    }

    /// Where the feed stands.
    pub fn position(&self) -> StreamPosition {
        self.position
    }

    /// Connects with the other processes on the same database: the returned tasks, which must run
    /// for that, tell them of this one's commits and listen for theirs.
    pub fn peers(
        &mut self,
    ) -> (
        impl Future<Output = ()> + Send + 'static,
        impl Future<Output = ()> + Send + 'static,
    ) {
        let (heard, committed_there) = mpsc::unbounded_channel();
        self.committed_there = Some(committed_there);
        let to_tell = self.database.peers().connect();
        let database = self.database.clone();
        let process = database.process().number;
        (
            peers::tell(database.pool().clone(), process, to_tell),
            peers::listen(database, heard),
        )
    }

    /// Waits for the next stretch; `None` when the database handle is gone.
    ///
    /// After an error the feed stands where it stood; the call can be repeated.
    pub async fn next(&mut self) -> Result<Option<Stretch>, Error> {
        loop {
            let committed = match self.woken().await {
                Woken::Ended => return Ok(None),
                Woken::Announced(news) if news.changes.is_empty() => news.last(),
                Woken::Announced(announcement) => {
                    let committed = Said::Committed(announcement.last());
                    self.database.peers().say(committed);
                    if announcement.base == self.position {
                        self.position = announcement.last();
                        let changes = announcement.into_changes();
                        return Ok(Some(Stretch {
                            until: self.position,
                            changes,
                        }));
                    }
                    announcement.last()
                }
                Woken::Notified(position) => position,
                Woken::Heartbeat => stream::position(&mut *self.database.acquire().await?).await?,
            };
            if committed > self.position {
                return self.read_until(committed).await.map(Some);
            }
        }
    }

    async fn read_until(&mut self, until: StreamPosition) -> Result<Stretch, Error> {
        let mut snapshot = self.database.snapshot().await?;
        let changes = stream::read(&mut snapshot, self.position, until).await?;
        snapshot.commit().await?;
        self.position = until;
        self.database.peers().spread(Heard::Changes(&changes));
        self.database.advance(until);
        Ok(Stretch { until, changes })
    }

    /// Waits for a commit of this process, a notification, or the heartbeat.
    async fn woken(&mut self) -> Woken {
        let notified = async {
            match &mut self.committed_there {
                Some(committed_there) => committed_there.recv().await,
                None => None,
            }
        };
        tokio::select! {
            biased;
            announcement = self.announcements.recv() => {
                announcement.map_or(Woken::Ended, Woken::Announced)
            }
            Some(position) = notified => Woken::Notified(position),
            _ = self.heartbeat.tick() => Woken::Heartbeat,
        }
    }
}
