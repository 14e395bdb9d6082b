//! The devices whose numbers of one-time or fallback keys changed.

use ruma::{DeviceId, UserId};

use super::{Part, family};
use crate::{Change, Changes};

family! {
    "INSERT INTO key_count_changes (position, devices)
    SELECT base + r.ordinal, r.devices FROM taken, UNNEST($1::bigint[], $2::text[]) AS r (ordinal, devices)"
    {
        ordinal: i64,
        devices: String,
    }
}

/// One row for changes that follow each other: a claim changes the numbers of many devices.
pub(super) fn collect(changes: &Changes) -> Option<Part> {
    let mut runs: Vec<(i64, Vec<(&UserId, &DeviceId)>)> = Vec::new();
    for (ordinal, change) in changes.numbered() {
        let Change::KeyCounts { user_id, device_id } = change else {
            continue;
        };
        let device = (&**user_id, &**device_id);
        match runs.last_mut() {
            Some((last, devices)) if *last + 1 == ordinal => {
                *last = ordinal;
                devices.push(device);
            }
            _ => runs.push((ordinal, vec![device])),
        }
    }
    part(runs.into_iter().map(|(ordinal, devices)| Row {
        ordinal,
        // Texts cannot fail to be written.
        devices: serde_json::to_string(&devices).unwrap_or_default(),
    }))
}
