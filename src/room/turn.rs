//! Writing to a room that several processes write to.
//!
//! A process takes the room's lock in the database once and, while it has it, adds the writes of all
//! requests that wait for the room: then it commits them together, and another process has its turn.

use std::{sync::Arc, time::Duration};

use live::PinnedState;
use ruma::RoomId;
use storage::{
    CommitError, Tx,
    committer::{WriteSet, commit_locked},
    rooms::{self, LockedHead},
    stream,
};
use tokio::{
    sync::{MutexGuard, oneshot},
    time::timeout,
};

use crate::{
    Error, Rooms, append::redactions, head::Head, heads::HeadEntry, rooms::RequestedWrite,
};

/// How long a turn waits for the feed, before it reads the room itself.
const FEED_TIMEOUT: Duration = Duration::from_secs(5);

/// What was added while this process has the room's lock.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    sets: Vec<WriteSet>,
    results: Vec<oneshot::Sender<Result<(), CommitError>>>,
}

/// What the other requests that wait for the room do during a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// They add their writes, which are committed together.
    Join,
    /// They wait: the turn has one write, which cannot fail by the fault of another.
    Wait,
}

type Guard<'e> = MutexGuard<'e, Option<Head>>;

/// Ends a turn that was not committed: what was added to the head is not in the database.
struct OpenTurn<'e>(&'e HeadEntry);

impl Drop for OpenTurn<'_> {
    fn drop(&mut self) {
        if self.0.close_turn().is_some() {
            self.0.discard_head();
        }
    }
}

impl Rooms {
    /// Adds a write to the turn that another request has opened, and waits until it is durable.
    pub(crate) async fn join_turn<T: Send>(
        &self,
        entry: &HeadEntry,
        mut guard: Guard<'_>,
        write: &mut RequestedWrite<'_, T>,
    ) -> Result<Result<T, CommitError>, Error> {
        let (result, committed) = self.add(entry, &mut guard, write).await?;
        drop(guard);
        wait(result, committed).await
    }

    /// Takes the room's lock in the database, adds this write and, if they may join, those of all
    /// requests that wait for the room, and commits them.
    #[tracing::instrument(name = "room.turn", level = "debug", skip_all)]
    pub(crate) async fn lead_turn<'e, T: Send>(
        &self,
        room_id: &RoomId,
        entry: &'e Arc<HeadEntry>,
        mut guard: Guard<'e>,
        others: Others,
        write: &mut RequestedWrite<'_, T>,
    ) -> Result<Result<T, CommitError>, Error> {
        let acquired = self.0.turns.acquire().await;
        let _turn = acquired.map_err(|_| CommitError::Stopping)?;
        // Loaded before the lock is taken, and kept.
        let pinned = self.0.live.pin_room_state(room_id).await?;
        let pinned = pinned.ok_or(Error::UnknownRoom)?;
        let mut tx = self.0.database.begin_batch().await?;
        let locked = rooms::lock(&mut tx, room_id).await?;
        let locked = locked.ok_or(Error::UnknownRoom)?;
        if locked.writer == self.0.database.process().number {
            // Nobody else wrote since: the next write need not wait for a turn.
            entry.set_contended(false);
        }
        *guard = Some(self.locked_head(&mut tx, room_id, &pinned, locked).await?);
        entry.open_turn();
        let open = OpenTurn(entry);
        let added = self.add(entry, &mut guard, write).await;
        if others == Others::Join {
            // Locks are granted in the order in which they are asked for: all who waited add theirs.
            drop(guard);
            guard = entry.pending.lock().await;
        }
        let turn = entry.close_turn().unwrap_or_default();
        drop(open);
        let results = if turn.sets.is_empty() {
            *guard = None;
            Vec::new()
        } else {
            commit_locked(tx, &turn.sets).await
        };
        if results.iter().any(Result::is_err) {
            *guard = None;
        } else if let Some(head) = &*guard {
            let position = results.iter().flatten().max().copied().unwrap_or_default();
            let redacted = turn.sets.iter().flat_map(redactions).collect();
            self.settle(entry, head.state.revision(), position, redacted);
            if results.len() < 2 {
                // Few requests: those that lose to another process can afford it.
                entry.set_contended(false);
            }
        }
        let results = retry_alone(results);
        drop(guard);
        for (request, result) in turn.results.into_iter().zip(results) {
            // The request may have been cancelled; the write stays.
            let _gone = request.send(result.map(|_| ()));
        }
        let (result, committed) = added?;
        wait(result, committed).await
    }

    /// The head of a room that is locked in the database: that in memory, once the feed has brought
    /// what another process wrote last.
    pub(crate) async fn locked_head(
        &self,
        tx: &mut Tx,
        room_id: &RoomId,
        pinned: &PinnedState,
        locked: LockedHead,
    ) -> Result<Head, Error> {
        let current = || {
            pinned
                .state()
                .filter(|state| state.revision() == locked.revision)
        };
        if let Some(state) = current() {
            return Head::new(state);
        }
        let position = stream::position(tx).await?;
        self.0.database.note_committed(position);
        let applied = self.0.live.wait_until_applied(position);
        if timeout(FEED_TIMEOUT, applied).await.is_ok()
            && let Some(state) = current()
        {
            return Head::new(state);
        }
        tracing::warn!(room.id = %room_id, "The feed did not bring what is in the database");
        let state = self.0.live.reload_state(tx, room_id).await?;
        Head::new(Arc::new(state.ok_or(Error::UnknownRoom)?))
    }

    /// Adds a write to the open turn; what it waits for is none if it adds nothing.
    async fn add<T: Send>(
        &self,
        entry: &HeadEntry,
        guard: &mut Guard<'_>,
        write: &mut RequestedWrite<'_, T>,
    ) -> Result<(T, oneshot::Receiver<Result<(), CommitError>>), Error> {
        let head = guard.as_ref().cloned().ok_or(Error::UnknownRoom)?;
        let (result, appender) = self.build(head, write).await?;
        let (request, committed) = oneshot::channel();
        // What is there already may have been added in this turn: then it is committed with it.
        let (set, head) = appender
            .finish(&self.0.database, &self.0.state_keys)
            .await?;
        **guard = Some(head);
        entry.add_to_turn(set, request);
        Ok((result, committed))
    }
}

/// When a turn of several writes fails, each is tried alone: one of them may be at fault.
fn retry_alone<T>(results: Vec<Result<T, CommitError>>) -> Vec<Result<T, CommitError>> {
    let has_failed = |result: &Result<T, CommitError>| match result {
        Err(CommitError::Failed(error)) => !error.is_unavailable(),
        _ => false,
    };
    if results.len() < 2 || !results.iter().any(has_failed) {
        return results;
    }
    let lost = |_| Err(CommitError::Conflict);
    results.into_iter().map(lost).collect()
}

async fn wait<T>(
    result: T,
    committed: oneshot::Receiver<Result<(), CommitError>>,
) -> Result<Result<T, CommitError>, Error> {
    let committed = committed.await.unwrap_or(Err(CommitError::Conflict));
    Ok(committed.map(|()| result))
}

impl Turn {
    pub(crate) fn add(&mut self, set: WriteSet, request: oneshot::Sender<Result<(), CommitError>>) {
        self.sets.push(set);
        self.results.push(request);
    }
}
