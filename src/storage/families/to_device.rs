//! Messages that wait for devices, and the transactions that sent them.

use std::{collections::HashMap, sync::Arc};

use super::{Part, family};
use crate::{Change, Changes, stream::ToDeviceTransaction};

family! {
    with "to_device_sent AS (
        INSERT INTO to_device_transactions AS t (user_id, device_id, transaction_id, sent_ts)
        SELECT DISTINCT sender, sender_device, transaction_id, sent_ts
        FROM UNNEST($4::text[], $7::text[], $8::text[], $9::bigint[])
            AS r (sender, sender_device, transaction_id, sent_ts)
        WHERE transaction_id IS NOT NULL
        ON CONFLICT (user_id, device_id, transaction_id) DO UPDATE SET sent_ts = excluded.sent_ts
            WHERE t.sent_ts < excluded.sent_ts - 86400000
        RETURNING user_id, device_id, transaction_id
    )"
    "INSERT INTO to_device (user_id, device_id, position, sender, event_type, content)
    SELECT r.user_id, r.device_id, base + r.ordinal, r.sender, r.event_type, r.content
    FROM taken, UNNEST($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
        AS r (ordinal, user_id, device_id, sender, event_type, content, sender_device, transaction_id)
    WHERE EXISTS (SELECT FROM devices d WHERE d.user_id = r.user_id AND d.device_id = r.device_id)
        AND (r.transaction_id IS NULL OR (r.sender, r.sender_device, r.transaction_id) IN (
            SELECT user_id, device_id, transaction_id FROM to_device_sent
        ))"
    {
        ordinal: i64,
        user_id: String,
        device_id: String,
        sender: String,
        event_type: String,
        content: String,
        sender_device: Option<String>,
        transaction_id: Option<String>,
        sent_ts: Option<i64>,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    // Of requests in one batch that repeat each other the first is carried out.
    let mut first: HashMap<_, &Arc<ToDeviceTransaction>> = HashMap::new();
    part(changes.numbered().filter_map(|(ordinal, change)| {
        let Change::ToDevice(message) = change else {
            return None;
        };
        let transaction = message.transaction.as_ref();
        if let Some(transaction) = transaction {
            let key = (
                &message.sender,
                &transaction.device_id,
                &transaction.transaction_id,
            );
            if !Arc::ptr_eq(first.entry(key).or_insert(transaction), transaction) {
                return None;
            }
        }
        Some(Row {
            ordinal,
            user_id: message.user_id.to_string(),
            device_id: message.device_id.to_string(),
            sender: message.sender.to_string(),
            event_type: message.event_type.clone(),
            content: message.content.to_string(),
            sender_device: transaction.map(|transaction| transaction.device_id.to_string()),
            transaction_id: transaction.map(|transaction| transaction.transaction_id.to_string()),
            sent_ts: transaction.map(|transaction| transaction.sent_ts),
        })
    }))
}
