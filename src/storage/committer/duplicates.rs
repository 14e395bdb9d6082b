//! Detection of client transactions that already created their event: before a restart, at another
//! process, or in a commit whose result was lost.

use std::collections::HashMap;

use ruma::OwnedEventId;

use super::WriteSet;
use crate::{Database, Error, StoredEvent, rows::id};

/// The unique constraint that lets a transaction create only one event.
pub(super) const CONSTRAINT: &str = "event_transactions_pkey";

/// The sets that repeat a transaction, by index, with the event that it created.
pub(super) async fn find(
    database: &Database,
    sets: &[&WriteSet],
) -> Result<HashMap<usize, OwnedEventId>, Error> {
    let mut rows = Rows::default();
    for (index, set) in sets.iter().enumerate() {
        for new in set.room.iter().flat_map(|room| &room.events) {
            rows.push(index, &new.event);
        }
    }
    let found = sqlx::query!(
        r#"SELECT w.index AS "index!", e.event_id
         FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])
            AS w (index, sender, device, transaction, room_nid, event_type)
         JOIN event_transactions t ON t.user_id = w.sender AND t.device_id = w.device
            AND t.transaction_id = w.transaction AND t.room_nid = w.room_nid AND t.event_type = w.event_type
         JOIN events e ON e.event_nid = t.event_nid"#,
        &rows.index,
        &rows.sender,
        &rows.device,
        &rows.transaction,
        &rows.room_nid,
        &rows.event_type,
    )
    .fetch_all(&mut *database.acquire().await?)
    .await?;
    let found = found.into_iter();
    found
        .map(|row| Ok((row.index as usize, id(row.event_id)?)))
        .collect()
}

#[derive(Default)]
struct Rows {
    index: Vec<i64>,
    sender: Vec<String>,
    device: Vec<String>,
    transaction: Vec<String>,
    room_nid: Vec<i64>,
    event_type: Vec<String>,
}

impl Rows {
    fn push(&mut self, index: usize, event: &StoredEvent) {
        let Some(transaction) = &event.transaction else {
            return;
        };
        self.index.push(index as i64);
        self.sender.push(event.pdu.sender().to_string());
        self.device.push(transaction.device_column());
        self.transaction
            .push(transaction.key(event.pdu.event_type()));
        self.room_nid.push(event.room_nid.get());
        self.event_type.push(event.pdu.event_type().to_owned());
    }
}
