//! Writes a batch in one transaction, and isolates the failing sets when that fails.

use std::{collections::HashMap, sync::Arc};

use ruma::OwnedEventId;
use sqlx::{Executor, Postgres, pool::PoolConnection};
use types::StreamPosition;

use super::{CommitError, CommitResult, Committed, WriteSet, duplicates, user_writes, write};
use crate::{
    Changes, Connection, Database, Error, database::BEGIN_BATCH, families, feed::Committing,
    stream::UserChanges,
};

/// How many dead connections are discarded before `BEGIN` gives up.
const MAX_RECONNECTS: usize = 64;

/// Writes batches, one after the other.
#[derive(Debug)]
pub(super) struct Writer {
    database: Database,
    /// The connection of the previous batch, reused under load without another acquire and ping.
    connection: Option<PoolConnection<Postgres>>,
}

impl Writer {
    pub(super) fn new(database: Database) -> Self {
        Self {
            database,
            connection: None,
        }
    }

    /// Returns the connection to the pool until the next batch.
    pub(super) fn release_connection(&mut self) {
        self.connection = None;
    }

    /// Commits the sets; when that fails for a reason that may lie in one of them, tries them on
    /// their own, so that one cannot take the others down.
    pub(super) async fn write_all(&mut self, sets: &[&WriteSet]) -> Vec<CommitResult> {
        let error = match self.commit(sets).await {
            Ok(results) => return results,
            Err(error) => error,
        };
        if error.violates(duplicates::CONSTRAINT) {
            match duplicates::find(&self.database, sets).await {
                Ok(duplicates) if !duplicates.is_empty() => {
                    return self.write_others(sets, duplicates).await;
                }
                // Of two sets in this batch the second repeats the first.
                Ok(_) => {}
                Err(error) => return failed(sets, error),
            }
        }
        if error.is_unavailable() || sets.len() == 1 {
            return failed(sets, error);
        }
        tracing::warn!(error = %error, source = ?error, "A batch was not committed; its parts are tried one by one");
        let mut results = Vec::with_capacity(sets.len());
        for set in sets {
            // What was built on a set that failed fails by its revision.
            results.extend(Box::pin(self.write_all(&[set])).await);
        }
        results
    }

    /// Commits the sets that repeat no earlier transaction.
    async fn write_others(
        &mut self,
        sets: &[&WriteSet],
        mut duplicates: HashMap<usize, OwnedEventId>,
    ) -> Vec<CommitResult> {
        let others: Vec<&WriteSet> = (sets.iter().enumerate())
            .filter(|(index, _)| !duplicates.contains_key(index))
            .map(|(_, set)| *set)
            .collect();
        let mut results = Vec::new().into_iter();
        if !others.is_empty() {
            results = Box::pin(self.write_all(&others)).await.into_iter();
        }
        let answer = |index| match duplicates.remove(&index) {
            Some(event_id) => Err(CommitError::DuplicateTransaction(event_id)),
            None => results.next().unwrap_or(Err(CommitError::Conflict)),
        };
        (0..sets.len()).map(answer).collect()
    }

    /// One transaction. A connection on which it failed is not used again.
    #[tracing::instrument(name = "storage.commit_batch", level = "debug", skip_all, fields(sets = sets.len()))]
    async fn commit(&mut self, sets: &[&WriteSet]) -> Result<Vec<CommitResult>, Error> {
        if sets.iter().all(|set| set.is_empty()) {
            let position = self.database.committed();
            let nothing = |_| {
                let outcomes = Vec::new();
                Ok(Committed { position, outcomes })
            };
            return Ok(sets.iter().map(nothing).collect());
        }
        let mut db = self.begin().await?;
        let result = write_batch(&self.database, &mut db, sets).await;
        if result.is_ok() {
            self.connection = Some(db);
        } else {
            db.close_on_drop();
        }
        result
    }

    async fn begin(&mut self) -> Result<PoolConnection<Postgres>, Error> {
        let mut attempts = 0;
        loop {
            let mut db = match self.connection.take() {
                Some(connection) => connection,
                None => self.database.acquire().await?,
            };
            attempts += 1;
            match db.execute(BEGIN_BATCH).await.map_err(Error::from) {
                Ok(_) => return Ok(db),
                // Nothing has been written yet: another connection may work.
                Err(error) if error.is_unavailable() && attempts < MAX_RECONNECTS => {
                    db.close_on_drop();
                }
                Err(error) => {
                    db.close_on_drop();
                    return Err(error);
                }
            }
        }
    }
}

/// The rooms' heads, then the user writes, then the rows of those that did not lose, then the commit.
async fn write_batch(
    database: &Database,
    db: &mut Connection,
    sets: &[&WriteSet],
) -> Result<Vec<CommitResult>, Error> {
    let conflicts = write::swap_heads(db, sets, database.process().number).await?;
    let applied = sets.iter().copied();
    let applied = applied.filter(|set| set.is_applied(&conflicts));
    let mut answers = user_writes::run(db, applied).await?;
    let mut changes = Changes::default();
    let mut rooms = Vec::new();
    let mut results = Vec::with_capacity(sets.len());
    for set in sets {
        if !set.is_applied(&conflicts) {
            results.push(Err(CommitError::Conflict));
            continue;
        }
        let (learned, outcomes) = answers.take(set);
        changes.extend(set.changes());
        changes.extend(UserChanges::from_iter(learned).into());
        rooms.extend(&set.room);
        results.push(Ok((changes.len() as i64, outcomes)));
    }
    let (base, committing) = if changes.is_empty() && rooms.is_empty() {
        (database.committed(), None)
    } else {
        let base = families::append(db, &changes, &rooms).await?;
        (base, Some(Committing::new(database, base)))
    };
    db.execute("COMMIT").await?;
    if let Some(committing) = committing {
        let heads = rooms.iter().map(|room| room.head_change()).collect();
        committing.committed(changes, heads);
    }
    let committed = |(offset, outcomes)| Committed {
        position: StreamPosition(base.get() + offset),
        outcomes,
    };
    Ok(results
        .into_iter()
        .map(|result| result.map(committed))
        .collect())
}

fn failed(sets: &[&WriteSet], error: Error) -> Vec<CommitResult> {
    tracing::error!(error = %error, source = ?error, sets = sets.len(), "A batch was not committed");
    let error = Arc::new(error);
    let failed = |_| Err(CommitError::Failed(error.clone()));
    sets.iter().map(failed).collect()
}
