//! Writing to a room that several processes write to.
//!
//! A process takes the room's lock in the database once and, while it has it, adds the writes of all
//! requests that wait for the room: then it commits them together, and another process has its turn.

use std::sync::Arc;

use ruma::RoomId;
use storage::{
    CommitError,
    committer::{WriteSet, commit_locked},
    rooms,
};
use tokio::sync::{MutexGuard, oneshot};

use crate::{
    Error, Rooms,
    append::{EventAppender, nids_for},
    head::Head,
    head_cache::HeadEntry,
};

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
        events: usize,
        write: &mut (impl FnMut(&mut EventAppender<'_>) -> Result<T, Error> + Send),
    ) -> Result<Result<T, CommitError>, Error> {
        let (result, committed) = self.add(entry, &mut guard, events, write).await?;
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
        events: usize,
        write: &mut (impl FnMut(&mut EventAppender<'_>) -> Result<T, Error> + Send),
    ) -> Result<Result<T, CommitError>, Error> {
        let mut tx = self.0.database.begin().await?;
        let locked = rooms::lock(&mut tx, room_id).await?;
        let own = self.0.database.process().number;
        if locked.is_some_and(|head| head.writer == own) {
            // Nobody else wrote since: the next write need not wait for a turn.
            entry.set_contended(false);
        }
        let head = Head::load(&mut tx, room_id).await?;
        *guard = Some(head.ok_or(Error::UnknownRoom)?);
        entry.open_turn();
        let open = OpenTurn(entry);
        let added = self.add(entry, &mut guard, events, write).await;
        if others == Others::Join {
            // Locks are granted in the order in which they are asked for: all who waited add theirs.
            drop(guard);
            guard = entry.head.lock().await;
        }
        let turn = entry.close_turn().unwrap_or_default();
        drop(open);
        let results = if turn.sets.is_empty() {
            Vec::new()
        } else {
            commit_locked(tx, &turn.sets).await
        };
        if results.iter().any(Result::is_err) {
            *guard = None;
        } else if let Some(head) = &*guard {
            self.0.heads.insert(entry, head);
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

    /// Adds a write to the open turn; what it waits for is none if it adds nothing.
    async fn add<T: Send>(
        &self,
        entry: &HeadEntry,
        guard: &mut Guard<'_>,
        events: usize,
        write: &mut (impl FnMut(&mut EventAppender<'_>) -> Result<T, Error> + Send),
    ) -> Result<(T, oneshot::Receiver<Result<(), CommitError>>), Error> {
        let nids = self.0.nids.allocate(nids_for(events)).await?;
        let head = guard.as_ref().cloned().ok_or(Error::UnknownRoom)?;
        let mut appender = EventAppender::new(head, &self.0.signer, self.0.clock.now(), nids);
        let result = write(&mut appender)?;
        let (request, committed) = oneshot::channel();
        // What is there already may have been added in this turn: then it is committed with it.
        let (set, head) = appender.finish(&self.0.state_keys).await?;
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
