//! The one place where text of events is taken away.
//!
//! A redacted event is stored as the redaction leaves it; what it was is kept beside, sealed, where
//! no other query looks. What may be kept for how long, and what must not be destroyed, is decided
//! here.

use types::EventNid;

use crate::{
    Change, Changes, Connection, Error,
    families::{Part, family},
    stream::{EventChange, Redacted, deduplicate},
};

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

/// Leaves of redacted events what the redactions leave.
pub(crate) fn collect(changes: &Changes) -> Option<Part> {
    part(erasures(changes).into_iter().map(|(change, redacted)| Row {
        event_nid: redacted.event_nid.get(),
        by_nid: change.event.nid.get(),
        json: redacted.pdu.json().to_owned(),
    }))
}

/// The redacted events, each with the last of its redactions.
fn erasures(changes: &Changes) -> Vec<(&EventChange, &Redacted)> {
    let redactions = changes.numbered().filter_map(|(_, change)| match change {
        Change::Event(change) => Some((change, change.redacts.as_ref()?)),
        _ => None,
    });
    deduplicate(redactions.map(|(change, redacted)| (redacted.event_nid, (change, redacted))))
}

/// What redacted events were.
mod originals {
    use super::{Changes, Part, erasures};
    use crate::families::family;

    family! {
        "INSERT INTO event_originals (event_nid, json, redacted_by_nid, sealed_ts)
        SELECT e.event_nid, e.json, r.by_nid, r.sealed_ts
        FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[]) AS r (event_nid, by_nid, sealed_ts)
        JOIN events e ON e.event_nid = r.event_nid
        ON CONFLICT (event_nid) DO NOTHING"
        {
            event_nid: i64,
            by_nid: i64,
            sealed_ts: i64,
        }
    }

    /// Keeps them; the statement sees them as they are before it. What was redacted before is
    /// kept already.
    pub(crate) fn collect(changes: &Changes) -> Option<Part> {
        part(erasures(changes).into_iter().map(|(change, redacted)| Row {
            event_nid: redacted.event_nid.get(),
            by_nid: change.event.nid.get(),
            sealed_ts: i64::from(change.event.pdu.origin_server_ts().0),
        }))
    }
}

/// What redacted events related to.
mod relations {
    use super::{Changes, Part, erasures};
    use crate::families::family;

    family! {
        "DELETE FROM relations l USING UNNEST($1::bigint[]) AS r (event_nid) WHERE l.event_nid = r.event_nid"
        {
            event_nid: i64,
        }
    }

    /// What was redacted relates to nothing any more.
    pub(crate) fn collect(changes: &Changes) -> Option<Part> {
        part(erasures(changes).into_iter().map(|(_, redacted)| Row {
            event_nid: redacted.event_nid.get(),
        }))
    }
}

pub(crate) use originals::collect as collect_originals;
pub(crate) use relations::collect as collect_relations;

/// The text that an event had before it was redacted, as far as it is kept.
///
/// Nobody is shown it; retention and legal hold decide here what becomes of it.
pub async fn original(db: &mut Connection, event: EventNid) -> Result<Option<String>, Error> {
    let json = sqlx::query_scalar!(
        "SELECT json FROM event_originals WHERE event_nid = $1",
        event.get()
    )
    .fetch_optional(db)
    .await?;
    Ok(json)
}
