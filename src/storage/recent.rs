//! The last batches of the feed, in memory: whoever follows the stream at a pace of its own takes
//! changes from here, and reads the tables only for what is not here any more.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};
use types::StreamPosition;

use crate::{Change, ChangeKind, Database, feed::ChangeBatch};

/// What the batches may take together, in bytes; the last one is kept in any case.
const MAX_BYTES: usize = 8 << 20;
/// What a change takes beside its texts, in bytes.
const CHANGE_BYTES: usize = 256;
/// How long a consumer waits for the feed to yield what is known to be committed, before it reads the
/// tables: the feed may be waiting for the database itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// Changes with their positions, in order.
pub(crate) type PositionedChanges = Vec<(StreamPosition, Change)>;

/// Where changes after a position are to be had.
#[derive(Debug)]
pub enum NextChanges {
    /// Those of the wanted kinds up to a position, from memory.
    InMemory {
        /// The changes, in order.
        changes: Vec<(StreamPosition, Change)>,
        /// The last position that they cover.
        until: StreamPosition,
    },
    /// They are to be read from the tables: all is committed up to this position.
    InTables(StreamPosition),
}

/// The last batches of the feed; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RecentBatches(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    batches: Mutex<Batches>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug)]
struct Batches {
    /// The position before the first batch.
    from: StreamPosition,
    list: VecDeque<Arc<ChangeBatch>>,
    bytes: usize,
    max_bytes: usize,
}

/// How far the feed has come.
#[derive(Clone, Copy, Debug)]
struct Progress {
    position: StreamPosition,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nobody has asked for the next batch so far.
    Idle,
    Running,
    Ended,
}

/// The batch that follows a position.
pub(crate) enum NextBatch {
    Batch(Arc<ChangeBatch>),
    /// It has been removed; the feed has come this far.
    Removed(StreamPosition),
    /// The feed has not yielded it.
    NotYet,
}

impl RecentBatches {
    pub(crate) fn new(position: StreamPosition) -> Self {
        Self::with_max_bytes(position, MAX_BYTES)
    }

    fn with_max_bytes(position: StreamPosition, max_bytes: usize) -> Self {
        Self(Arc::new(Inner {
            batches: Mutex::new(Batches {
                from: position,
                list: VecDeque::new(),
                bytes: 0,
                max_bytes,
            }),
            progress: watch::Sender::new(Progress {
                position,
                phase: Phase::Idle,
            }),
        }))
    }

    /// The feed is asked for batches from now on.
    pub(crate) fn start(&self) {
        self.0.progress.send_if_modified(|progress| {
            let is_idle = progress.phase == Phase::Idle;
            if is_idle {
                progress.phase = Phase::Running;
            }
            is_idle
        });
    }

    /// The feed is gone.
    pub(crate) fn end(&self) {
        let end = |progress: &mut Progress| progress.phase = Phase::Ended;
        self.0.progress.send_modify(end);
    }

    /// Adds the batch that the feed yields.
    pub(crate) fn push(&self, batch: Arc<ChangeBatch>) {
        let until = batch.until;
        {
            let mut batches = self.0.batches.lock();
            batches.bytes += bytes(&batch);
            batches.list.push_back(batch);
            while batches.bytes > batches.max_bytes && batches.list.len() > 1 {
                let Some(removed) = batches.list.pop_front() else {
                    break;
                };
                batches.bytes = batches.bytes.saturating_sub(bytes(&removed));
                batches.from = removed.until;
            }
        }
        let advance = |progress: &mut Progress| progress.position = until;
        self.0.progress.send_modify(advance);
    }

    /// The batch that has what follows a position.
    pub(crate) fn next(&self, position: StreamPosition) -> NextBatch {
        let batches = self.0.batches.lock();
        let index = batches
            .list
            .partition_point(|batch| batch.until <= position);
        match batches.list.get(index) {
            Some(batch) if position >= batches.from => NextBatch::Batch(Arc::clone(batch)),
            Some(_) => {
                let last = batches.list.back();
                NextBatch::Removed(last.map_or(position, |last| last.until))
            }
            None => NextBatch::NotYet,
        }
    }

    /// Waits for the batch that follows a position; `None` when the feed is gone.
    pub(crate) async fn wait_for_next(&self, position: StreamPosition) -> Option<NextBatch> {
        let mut progress = self.0.progress.subscribe();
        loop {
            match self.next(position) {
                NextBatch::NotYet => {}
                next => return Some(next),
            }
            if progress.borrow_and_update().phase == Phase::Ended {
                return None;
            }
            if progress.borrow().position > position {
                continue;
            }
            // The sender lives as long as this handle.
            progress.changed().await.ok()?;
        }
    }

    /// Changes after `from`, of at most so many positions; `None` if the first of them is not here.
    fn changes(
        &self,
        from: StreamPosition,
        limit: i64,
        kinds: &[ChangeKind],
    ) -> Option<(PositionedChanges, StreamPosition)> {
        let end = StreamPosition(from.get() + limit);
        let (mut until, mut changes) = (from, Vec::new());
        while until < end
            && let NextBatch::Batch(batch) = self.next(until)
        {
            let first = batch.changes.partition_point(|(at, _)| *at <= until);
            until = batch_end(&batch, end);
            let taken = batch.changes.iter().skip(first);
            let taken = taken.take_while(|(at, _)| *at <= until);
            changes.extend(
                taken
                    .filter(|(_, change)| kinds.contains(&change.kind()))
                    .cloned(),
            );
        }
        (until > from).then_some((changes, until))
    }
}

/// Where to stop in a batch: at its end, or at `end`; what an event changes in the state of its room
/// stands right after it, and belongs to it.
fn batch_end(batch: &ChangeBatch, end: StreamPosition) -> StreamPosition {
    if batch.until <= end {
        return batch.until;
    }
    let next = StreamPosition(end.get() + 1);
    let index = batch.changes.partition_point(|(at, _)| *at < next);
    match batch.changes.get(index) {
        Some((at, Change::State(_))) if *at == next => next,
        _ => end,
    }
}

fn bytes(batch: &ChangeBatch) -> usize {
    let changes = batch.changes.iter();
    changes.map(|(_, change)| change.bytes()).sum()
}

impl Change {
    /// About what it takes in memory, in bytes.
    fn bytes(&self) -> usize {
        let texts = match self {
            Self::Event(change) => {
                let redacted = change.redacts.as_ref();
                change.event.pdu.json().len() + redacted.map_or(0, |left| left.pdu.json().len())
            }
            Self::State(delta) => {
                let events = (delta.changes.iter()).flat_map(|change| [&change.from, &change.to]);
                let sizes = events.flatten().map(|event| event.pdu.json().len());
                delta.changes.len() * CHANGE_BYTES + sizes.sum::<usize>()
            }
            Self::PartialState { servers, .. } => {
                let servers = servers.iter().flat_map(|servers| servers.iter());
                servers.map(|server| server.as_str().len()).sum()
            }
            Self::AccountData(data) => data.content.len(),
            Self::ToDevice(message) => message.content.len(),
            Self::OutgoingToDevice(messages) => messages.messages.len(),
            Self::Receipt(_)
            | Self::DeviceList { .. }
            | Self::UserSigned { .. }
            | Self::KeyCounts { .. } => 0,
        };
        CHANGE_BYTES + texts
    }
}

impl Database {
    /// Waits for changes after a position, and returns the next ones of these kinds, of at most so many
    /// positions, one more if a state change would be cut off from its event.
    ///
    /// They are in memory if this process's [`Feed`](crate::Feed) has yielded them lately.
    pub async fn changes_after(
        &self,
        position: StreamPosition,
        limit: i64,
        kinds: &[ChangeKind],
    ) -> NextChanges {
        let committed = self.committed_after(position).await;
        if self.recent().is_past(position).await
            && let Some((changes, until)) = self.recent().changes(position, limit, kinds)
        {
            return NextChanges::InMemory { changes, until };
        }
        NextChanges::InTables(committed)
    }
}

impl RecentBatches {
    /// Whether the feed has yielded, or yields in a moment, what follows a position.
    async fn is_past(&self, position: StreamPosition) -> bool {
        let mut progress = self.0.progress.subscribe();
        if progress.borrow().phase != Phase::Running {
            return progress.borrow().position > position;
        }
        let is_past =
            |progress: &Progress| progress.position > position || progress.phase == Phase::Ended;
        match timeout(PATIENCE, progress.wait_for(is_past)).await {
            Ok(Ok(progress)) => progress.position > position,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::owned_user_id;

    use super::*;
    use crate::stream::AccountData;

    /// A batch of account data at these positions, each of about so many bytes.
    fn batch(positions: std::ops::RangeInclusive<i64>, size: usize) -> Arc<ChangeBatch> {
        let until = StreamPosition(*positions.end());
        let change = |position| {
            let data = AccountData {
                user_id: owned_user_id!("@alice:test.localhost"),
                room_nid: None,
                event_type: "type".to_owned(),
                content: "x".repeat(size),
            };
            (StreamPosition(position), Change::AccountData(data))
        };
        Arc::new(ChangeBatch {
            until,
            writer: None,
            changes: positions.map(change).collect(),
            heads: Vec::new(),
        })
    }

    #[test]
    fn the_oldest_batches_are_removed_and_the_last_is_kept() {
        let recent = RecentBatches::with_max_bytes(StreamPosition(0), 10_000);
        recent.push(batch(1..=3, 1_000));
        recent.push(batch(4..=6, 1_000));
        let next = |position| recent.next(StreamPosition(position));
        assert!(matches!(next(0), NextBatch::Batch(batch) if batch.until == StreamPosition(3)));
        recent.push(batch(7..=9, 1_000));
        assert!(matches!(next(0), NextBatch::Removed(StreamPosition(9))));
        assert!(matches!(next(2), NextBatch::Removed(_)));
        assert!(matches!(next(3), NextBatch::Batch(batch) if batch.until == StreamPosition(6)));
        recent.push(batch(10..=10, 100_000));
        assert!(matches!(next(8), NextBatch::Removed(StreamPosition(10))));
        assert!(matches!(next(9), NextBatch::Batch(batch) if batch.until == StreamPosition(10)));
        assert!(matches!(next(10), NextBatch::NotYet));
    }

    #[test]
    fn changes_are_taken_from_several_batches_up_to_a_limit() {
        let recent = RecentBatches::new(StreamPosition(0));
        recent.push(batch(1..=3, 1));
        recent.push(batch(4..=9, 1));
        let take = |from, limit| {
            let taken = recent.changes(StreamPosition(from), limit, &[ChangeKind::AccountData]);
            taken.map(|(changes, until)| {
                let positions: Vec<i64> = changes.iter().map(|(at, _)| at.get()).collect();
                (positions, until.get())
            })
        };
        assert_eq!(take(0, 2), Some((vec![1, 2], 2)));
        assert_eq!(take(2, 4), Some((vec![3, 4, 5, 6], 6)));
        assert_eq!(take(6, 100), Some((vec![7, 8, 9], 9)));
        assert_eq!(take(9, 100), None);
        let others = recent.changes(StreamPosition(0), 100, &[ChangeKind::Receipt]);
        let (changes, until) = others.expect("in memory");
        assert!(changes.is_empty() && until == StreamPosition(9));
    }
}
