//! When the numbers of devices' one-time or fallback keys changed last.

use super::{Part, family};
use crate::{Change, Changes, stream::deduplicate};

family! {
    "INSERT INTO key_counts (user_id, device_id, position)
    SELECT r.user_id, r.device_id, base + r.ordinal
    FROM taken, UNNEST($1::bigint[], $2::text[], $3::text[]) AS r (ordinal, user_id, device_id)
    ON CONFLICT (user_id, device_id) DO UPDATE SET position = excluded.position"
    {
        ordinal: i64,
        user_id: String,
        device_id: String,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    let rows = changes.numbered().filter_map(|(ordinal, change)| {
        let Change::KeyCounts { user_id, device_id } = change else {
            return None;
        };
        let row = Row {
            ordinal,
            user_id: user_id.to_string(),
            device_id: device_id.to_string(),
        };
        Some(((user_id, device_id), row))
    });
    part(deduplicate(rows))
}
