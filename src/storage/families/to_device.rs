//! Messages that wait for devices or are to go to those of other servers, and the transactions that
//! sent them.

use std::{collections::HashMap, sync::Arc};

use ruma::UserId;

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
    ), to_device_outgoing AS (
        INSERT INTO outgoing_to_device (position, server_name, sender, event_type, messages)
        SELECT base + r.ordinal, r.server_name, r.sender, r.event_type, r.content
        FROM taken, UNNEST($1::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $10::text[])
            AS r (ordinal, sender, event_type, content, sender_device, transaction_id, server_name)
        WHERE r.server_name IS NOT NULL
            AND (r.transaction_id IS NULL OR (r.sender, r.sender_device, r.transaction_id) IN (
                SELECT user_id, device_id, transaction_id FROM to_device_sent
            ))
    )"
    "INSERT INTO to_device (user_id, device_id, position, sender, event_type, content)
    SELECT r.user_id, r.device_id, base + r.ordinal, r.sender, r.event_type, r.content
    FROM taken, UNNEST($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $10::text[])
        AS r (ordinal, user_id, device_id, sender, event_type, content, sender_device, transaction_id, server_name)
    WHERE r.server_name IS NULL
        AND EXISTS (SELECT FROM devices d WHERE d.user_id = r.user_id AND d.device_id = r.device_id)
        AND (r.transaction_id IS NULL OR (r.sender, r.sender_device, r.transaction_id) IN (
            SELECT user_id, device_id, transaction_id FROM to_device_sent
        ))"
    {
        ordinal: i64,
        user_id: Option<String>,
        device_id: Option<String>,
        sender: String,
        event_type: String,
        content: String,
        sender_device: Option<String>,
        transaction_id: Option<String>,
        sent_ts: Option<i64>,
        server_name: Option<String>,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    // Of requests in one batch that repeat each other the first is carried out.
    let mut first: HashMap<_, &Arc<ToDeviceTransaction>> = HashMap::new();
    part(changes.numbered().filter_map(|(ordinal, change)| {
        let row = Row::new(ordinal, change)?;
        let (sender, transaction) = sent_by(change)?;
        if let Some(transaction) = transaction {
            let key = (sender, &transaction.device_id, &transaction.transaction_id);
            if !Arc::ptr_eq(first.entry(key).or_insert(transaction), transaction) {
                return None;
            }
        }
        Some(row)
    }))
}

/// Who sends messages, and with which request.
fn sent_by(change: &Change) -> Option<(&UserId, Option<&Arc<ToDeviceTransaction>>)> {
    match change {
        Change::ToDevice(message) => Some((&message.sender, message.transaction.as_ref())),
        Change::OutgoingToDevice(messages) => {
            Some((&messages.sender, messages.transaction.as_ref()))
        }
        _ => None,
    }
}

impl Row {
    fn new(ordinal: i64, change: &Change) -> Option<Self> {
        let (sender, transaction) = sent_by(change)?;
        let row = Self {
            ordinal,
            user_id: None,
            device_id: None,
            sender: sender.to_string(),
            event_type: String::new(),
            content: String::new(),
            sender_device: transaction.map(|transaction| transaction.device_id.to_string()),
            transaction_id: transaction.map(|transaction| transaction.transaction_id.to_string()),
            sent_ts: transaction.map(|transaction| transaction.sent_ts),
            server_name: None,
        };
        match change {
            Change::ToDevice(message) => Some(Self {
                user_id: Some(message.user_id.to_string()),
                device_id: Some(message.device_id.to_string()),
                event_type: message.event_type.clone(),
                content: message.content.to_string(),
                ..row
            }),
            Change::OutgoingToDevice(messages) => Some(Self {
                event_type: messages.event_type.clone(),
                content: messages.messages.to_string(),
                server_name: Some(messages.server_name.to_string()),
                ..row
            }),
            _ => None,
        }
    }
}
