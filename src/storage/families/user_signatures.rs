//! When users signed other users' master keys last.

use super::{Part, family};
use crate::{Change, Changes, stream::deduplicate};

family! {
    "INSERT INTO user_signatures (signer, user_id, position)
    SELECT r.signer, r.user_id, base + r.ordinal
    FROM taken, UNNEST($1::bigint[], $2::text[], $3::text[]) AS r (ordinal, signer, user_id)
    ON CONFLICT (signer, user_id) DO UPDATE SET position = excluded.position"
    {
        ordinal: i64,
        signer: String,
        user_id: String,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    let rows = changes.numbered().filter_map(|(ordinal, change)| {
        let Change::UserSigned { signer, user_id } = change else {
            return None;
        };
        let row = Row {
            ordinal,
            signer: signer.to_string(),
            user_id: user_id.to_string(),
        };
        Some(((signer, user_id), row))
    });
    part(deduplicate(rows))
}
