//! What a redaction leaves of the event that it redacts.

use super::{Part, family};
use crate::{Change, Changes, stream::deduplicate};

family! {
    "UPDATE events e SET redacted_by_nid = r.by_nid, json = r.json
    FROM UNNEST($1::bigint[], $2::bigint[], $3::text[]) AS r (event_nid, by_nid, json)
    WHERE e.event_nid = r.event_nid"
    {
        event_nid: i64,
        by_nid: i64,
        json: String,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    let rows = changes.numbered().filter_map(|(_, change)| {
        let Change::Event(change) = change else {
            return None;
        };
        let redacted = change.redacts.as_ref()?;
        let row = Row {
            event_nid: redacted.event_nid.get(),
            by_nid: change.event.nid.get(),
            json: redacted.pdu.json().to_owned(),
        };
        Some((redacted.event_nid, row))
    });
    part(deduplicate(rows))
}
