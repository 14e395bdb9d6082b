//! When users' devices, their keys or the cross-signing keys changed last.

use super::{Part, family};
use crate::{Change, Changes, stream::deduplicate};

family! {
    "INSERT INTO device_lists (user_id, position)
    SELECT r.user_id, base + r.ordinal
    FROM taken, UNNEST($1::bigint[], $2::text[]) AS r (ordinal, user_id)
    ON CONFLICT (user_id) DO UPDATE SET position = excluded.position"
    {
        ordinal: i64,
        user_id: String,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    let rows = changes.numbered().filter_map(|(ordinal, change)| {
        let Change::DeviceList { user_id } = change else {
            return None;
        };
        let row = Row {
            ordinal,
            user_id: user_id.to_string(),
        };
        Some((user_id, row))
    });
    part(deduplicate(rows))
}
