//! Writing one set at once, for who would lose against another process again.

use std::sync::Arc;

use super::{Answer, CommitError, WriteSet, repeated, write};
use crate::Tx;

/// Writes one set in the transaction of a caller who holds the lock of the set's room, so that
/// nobody else can write to the room first.
pub async fn commit_locked(mut tx: Tx, set: WriteSet) -> Answer {
    let database = tx.database().clone();
    let result = async {
        let lost = write::unpositioned(&mut tx, &[&set]).await?;
        if !lost.is_empty() {
            return Ok(Err(CommitError::Conflict));
        }
        tx.commit_with(set.changes.clone()).await.map(Ok)
    };
    match result.await {
        Ok(answer) => answer,
        Err(error) if error.violates(repeated::CONSTRAINT) => {
            let repeated = repeated::among(&database, &[&set]).await;
            match repeated.map(|mut repeated| repeated.remove(&0)) {
                Ok(Some(event_id)) => Err(CommitError::Repeated(event_id)),
                _ => Err(CommitError::Failed(Arc::new(error))),
            }
        }
        Err(error) => Err(CommitError::Failed(Arc::new(error))),
    }
}
