//! Writing sets of one room under the room's database lock, after a conflict with another process.

use std::sync::Arc;

use types::StreamPosition;

use super::{CommitError, WriteSet, duplicates, write};
use crate::{Error, Tx, stream::Changes};

/// Commits sets of one room, in their order, in a transaction that already holds the room's lock, so
/// that no conflict with another process is possible. All of them are committed or none: then those
/// that were not at fault have a conflict.
#[tracing::instrument(name = "storage.commit_locked", level = "debug", skip_all, fields(sets = sets.len()))]
pub async fn commit_locked(tx: Tx, sets: &[WriteSet]) -> Vec<Result<StreamPosition, CommitError>> {
    let database = tx.database().clone();
    let sets: Vec<&WriteSet> = sets.iter().collect();
    let error = match commit(tx, &sets).await {
        Ok(Some(positions)) => return positions.into_iter().map(Ok).collect(),
        Ok(None) => return sets.iter().map(|_| Err(CommitError::Conflict)).collect(),
        Err(error) => error,
    };
    if error.violates(duplicates::CONSTRAINT) && sets.len() > 1 {
        let mut found = duplicates::find(&database, &sets).await.unwrap_or_default();
        let result = |index| match found.remove(&index) {
            Some(event_id) => Err(CommitError::DuplicateTransaction(event_id)),
            None => Err(CommitError::Conflict),
        };
        return (0..sets.len()).map(result).collect();
    }
    if error.violates(duplicates::CONSTRAINT)
        && let Ok(Some(event_id)) = duplicates::find(&database, &sets)
            .await
            .map(|mut found| found.remove(&0))
    {
        return vec![Err(CommitError::DuplicateTransaction(event_id))];
    }
    let error = Arc::new(error);
    let failed = |_| Err(CommitError::Failed(Arc::clone(&error)));
    sets.iter().map(failed).collect()
}

/// The position of the last change of each set; `None` if the head is not what the sets expect.
async fn commit(mut tx: Tx, sets: &[&WriteSet]) -> Result<Option<Vec<StreamPosition>>, Error> {
    let writer = tx.database().process().number;
    let conflicts = write::swap_heads(&mut tx, sets, writer).await?;
    if !conflicts.is_empty() {
        return Ok(None);
    }
    let mut changes = Changes::default();
    let mut offsets = Vec::with_capacity(sets.len());
    for set in sets {
        changes.extend(set.changes());
        offsets.push(changes.len() as i64);
    }
    let count = changes.len() as i64;
    let rooms: Vec<_> = sets.iter().filter_map(|set| set.room.as_ref()).collect();
    let last = tx.commit_rows(changes, &rooms).await?;
    let position = |offset| StreamPosition(last.get() - count + offset);
    Ok(Some(offsets.into_iter().map(position).collect()))
}
