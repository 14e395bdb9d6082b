//! Account data that is changed by way of its present content, such as tags and push rules.

use std::collections::{BTreeSet, HashMap};

use types::RoomNid;

use crate::{
    Connection, Error,
    committer::{Answered, Outcome},
    stream::{AccountData, UserChange},
};

/// Account data that takes the place of what was read before.
#[derive(Clone, Debug)]
pub struct AccountDataUpdate {
    /// The new data.
    pub data: AccountData,
    /// The content that it was made from, as it was read; the update is refused when that has
    /// changed.
    pub replaces: Option<String>,
}

type Key = (String, i64, String);

impl AccountDataUpdate {
    fn key(&self) -> Key {
        let data = &self.data;
        let room_nid = data.room_nid.unwrap_or(RoomNid(0)).get();
        (data.user_id.to_string(), room_nid, data.event_type.clone())
    }
}

/// Compares what the updates of a batch replace with what is there, before the stream is locked.
///
/// Other processes that update data of the same users wait until the transaction ends.
pub(crate) async fn write(
    db: &mut Connection,
    updates: &[(usize, &AccountDataUpdate)],
) -> Result<Vec<Answered>, Error> {
    lock(&mut *db, updates).await?;
    let mut present = read(db, updates).await?;
    let mut answered = Vec::with_capacity(updates.len());
    for (write, update) in updates {
        let key = update.key();
        let is_present = present.get(&key) == update.replaces.as_ref();
        if is_present {
            present.insert(key, update.data.content.clone());
        }
        let change = UserChange::AccountData(update.data.clone());
        answered.push(Answered {
            write: *write,
            outcome: Outcome::Replaced(is_present),
            changes: is_present.then_some(change).into_iter().collect(),
        });
    }
    Ok(answered)
}

/// No rows are locked: other processes write them under the stream's lock.
async fn lock(db: &mut Connection, updates: &[(usize, &AccountDataUpdate)]) -> Result<(), Error> {
    // In one order, so that two processes do not wait for each other.
    let users: BTreeSet<&str> = updates
        .iter()
        .map(|(_, update)| update.data.user_id.as_str())
        .collect();
    let users: Vec<&str> = users.into_iter().collect();
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('account_data ' || user_id, 0))
         FROM UNNEST($1::text[]) AS u (user_id)",
        &users as &[&str]
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn read(
    db: &mut Connection,
    updates: &[(usize, &AccountDataUpdate)],
) -> Result<HashMap<Key, String>, Error> {
    let keys = || updates.iter().map(|(_, update)| update.key());
    let users: Vec<String> = keys().map(|(user_id, ..)| user_id).collect();
    let rooms: Vec<i64> = keys().map(|(_, room_nid, _)| room_nid).collect();
    let event_types: Vec<String> = keys().map(|(.., event_type)| event_type).collect();
    let rows = sqlx::query!(
        "SELECT user_id, room_nid, event_type, content FROM account_data
         WHERE (user_id, room_nid, event_type) IN (
            SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::text[])
         )",
        &users,
        &rooms,
        &event_types
    )
    .fetch_all(db)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|row| ((row.user_id, row.room_nid, row.event_type), row.content))
        .collect())
}
