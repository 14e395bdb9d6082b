//! The user writes of a batch: carried out before positions are assigned, since what clients learn of
//! them depends on their effect.

use std::collections::HashMap;

use super::{Outcome, UserWrite, WriteSet};
use crate::{
    Connection, Error,
    families::{account_data_updates, claims, key_uploads},
    stream::UserChange,
};

/// The result of a user write, and its changes in the stream.
pub(crate) struct Answered {
    /// The number of the write in the batch.
    pub(crate) write: usize,
    pub(crate) outcome: Outcome,
    pub(crate) changes: Vec<UserChange>,
}

/// What came of the user writes of a batch, to be taken in their order.
pub(super) struct Answers {
    answered: HashMap<usize, Answered>,
    next: usize,
}

/// Carries out the user writes of the sets, each family in one statement.
pub(super) async fn run<'s>(
    db: &mut Connection,
    sets: impl Iterator<Item = &'s WriteSet>,
) -> Result<Answers, Error> {
    let (mut uploads, mut claimed, mut updates) = (Vec::new(), Vec::new(), Vec::new());
    for (number, write) in sets.flat_map(|set| &set.user).enumerate() {
        match write {
            UserWrite::UploadKeys(upload) => uploads.push((number, upload)),
            UserWrite::ClaimKeys(keys) => claimed.push((number, &**keys)),
            UserWrite::ReplaceAccountData(update) => updates.push((number, update)),
        }
    }
    // Always in this order: two processes lock rows in the same order.
    let mut answered = Vec::new();
    if !uploads.is_empty() {
        answered.extend(key_uploads::write(&mut *db, &uploads).await?);
    }
    if !claimed.is_empty() {
        answered.extend(claims::write(&mut *db, &claimed).await?);
    }
    if !updates.is_empty() {
        answered.extend(account_data_updates::write(db, &updates).await?);
    }
    Ok(Answers {
        answered: answered
            .into_iter()
            .map(|answered| (answered.write, answered))
            .collect(),
        next: 0,
    })
}

impl Answers {
    /// What came of the user writes of the next set.
    pub(super) fn take(&mut self, set: &WriteSet) -> (Vec<UserChange>, Vec<Outcome>) {
        let (mut changes, mut outcomes) = (Vec::new(), Vec::new());
        for number in self.next..self.next + set.user.len() {
            if let Some(answered) = self.answered.remove(&number) {
                changes.extend(answered.changes);
                outcomes.push(answered.outcome);
            }
        }
        self.next += set.user.len();
        (changes, outcomes)
    }
}
