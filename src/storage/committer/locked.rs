//! Writing one set under the room's database lock, after a conflict with another process.

use std::sync::Arc;

use types::StreamPosition;

use super::{CommitError, WriteSet, duplicates, write};
use crate::Tx;

/// Commits one set in a transaction that already holds the lock of the set's room, so that no
/// conflict is possible.
pub async fn commit_locked(mut tx: Tx, set: WriteSet) -> Result<StreamPosition, CommitError> {
    let database = tx.database().clone();
    let writer = database.process().number;
    let result = async {
        let conflicts = write::swap_heads(&mut tx, &[&set], writer).await?;
        if !conflicts.is_empty() {
            return Ok(Err(CommitError::Conflict));
        }
        let rooms: Vec<_> = set.room.iter().collect();
        tx.commit_rows(set.changes(), &rooms).await.map(Ok)
    };
    match result.await {
        Ok(answer) => answer,
        Err(error) if error.violates(duplicates::CONSTRAINT) => {
            let duplicates = duplicates::find(&database, &[&set]).await;
            match duplicates.map(|mut duplicates| duplicates.remove(&0)) {
                Ok(Some(event_id)) => Err(CommitError::DuplicateTransaction(event_id)),
                _ => Err(CommitError::Failed(Arc::new(error))),
            }
        }
        Err(error) => Err(CommitError::Failed(Arc::new(error))),
    }
}
