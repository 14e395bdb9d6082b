//! Messages that wait for devices.

use super::{Part, family};
use crate::{Change, Changes};

family! {
    "INSERT INTO to_device (user_id, device_id, position, sender, event_type, content)
    SELECT r.user_id, r.device_id, base + r.ordinal, r.sender, r.event_type, r.content
    FROM taken, UNNEST($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
        AS r (ordinal, user_id, device_id, sender, event_type, content)"
    {
        ordinal: i64,
        user_id: String,
        device_id: String,
        sender: String,
        event_type: String,
        content: String,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    part(changes.numbered().filter_map(|(ordinal, change)| {
        let Change::ToDevice(message) = change else {
            return None;
        };
        Some(Row {
            ordinal,
            user_id: message.user_id.to_string(),
            device_id: message.device_id.to_string(),
            sender: message.sender.to_string(),
            event_type: message.event_type.clone(),
            content: message.content.clone(),
        })
    }))
}
