//! Users' private data.

use super::{Part, family};
use crate::{Change, Changes, stream::deduplicate};

family! {
    "INSERT INTO account_data (user_id, room_nid, event_type, content, position)
    SELECT r.user_id, r.room_nid, r.event_type, r.content, base + r.ordinal
    FROM taken, UNNEST($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[])
        AS r (ordinal, user_id, room_nid, event_type, content)
    ON CONFLICT (user_id, room_nid, event_type) DO UPDATE SET
        content = excluded.content, position = excluded.position"
    {
        ordinal: i64,
        user_id: String,
        room_nid: i64,
        event_type: String,
        content: String,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    let rows = changes.numbered().filter_map(|(ordinal, change)| {
        let Change::AccountData(data) = change else {
            return None;
        };
        let room_nid = data.room_nid.unwrap_or_default();
        let row = Row {
            ordinal,
            user_id: data.user_id.to_string(),
            room_nid: room_nid.get(),
            event_type: data.event_type.clone(),
            content: data.content.clone(),
        };
        Some(((&data.user_id, room_nid, &data.event_type), row))
    });
    part(deduplicate(rows))
}
