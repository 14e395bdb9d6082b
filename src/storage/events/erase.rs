//! The one place where text of events is taken away.
//!
//! A redacted event is stored as the redaction leaves it; what it was is kept beside, sealed, where
//! no other query looks. What may be kept for how long, and what must not be destroyed, is decided
//! here.

use types::EventNid;

use crate::{
    Change, Changes, Connection, Error, StoredEvent,
    families::{Part, family},
    rooms::{Placement, RoomWrite},
    stream::{Redacted, deduplicate},
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
pub(crate) fn collect(changes: &Changes, rooms: &[&RoomWrite]) -> Option<Part> {
    let erasures = erasures(changes, rooms).into_iter();
    part(erasures.map(|(redaction, redacted)| Row {
        event_nid: redacted.event_nid.get(),
        by_nid: redaction.nid.get(),
        json: redacted.pdu.json().to_owned(),
    }))
}

/// The redacted events, each with the last of its redactions.
fn erasures<'a>(
    changes: &'a Changes,
    rooms: &[&'a RoomWrite],
) -> Vec<(&'a StoredEvent, &'a Redacted)> {
    let appended = changes.numbered().filter_map(|(_, change)| match change {
        Change::Event(change) => Some((&change.event, change.redacts.as_ref()?)),
        _ => None,
    });
    let filled = rooms.iter().flat_map(|room| &room.events);
    let filled = filled.filter(|new| matches!(new.placement, Placement::History(_)));
    let filled = filled.filter_map(|new| Some((&new.event, new.redacts.as_ref()?)));
    let redactions = filled.chain(appended);
    deduplicate(redactions.map(|(redaction, redacted)| (redacted.event_nid, (redaction, redacted))))
}

/// What redacted events were.
mod originals {
    use super::{Changes, Part, erasures};
    use crate::{families::family, rooms::RoomWrite};

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
    pub(crate) fn collect(changes: &Changes, rooms: &[&RoomWrite]) -> Option<Part> {
        let erasures = erasures(changes, rooms).into_iter();
        part(erasures.map(|(redaction, redacted)| Row {
            event_nid: redacted.event_nid.get(),
            by_nid: redaction.nid.get(),
            sealed_ts: i64::from(redaction.pdu.origin_server_ts().0),
        }))
    }
}

/// What events were that had been redacted before they came.
mod late_originals {
    use crate::{families::family, rooms::RoomWrite};

    family! {
        "INSERT INTO event_originals (event_nid, json, redacted_by_nid, sealed_ts)
        SELECT r.event_nid, r.json, e.event_nid, e.origin_server_ts
        FROM UNNEST($1::bigint[], $2::text[], $3::text[]) AS r (event_nid, json, redaction_id)
        JOIN events e ON e.event_id = r.redaction_id
        ON CONFLICT (event_nid) DO NOTHING"
        {
            event_nid: i64,
            json: String,
            redaction_id: String,
        }
    }

    /// Keeps them. The redactions were stored before.
    pub(crate) fn collect(rooms: &[&RoomWrite]) -> Option<crate::families::Part> {
        let events = rooms.iter().flat_map(|room| &room.events);
        part(events.filter_map(|new| {
            Some(Row {
                event_nid: new.event.nid.get(),
                json: new.original.as_ref()?.json().to_owned(),
                redaction_id: new.event.redacted_because.as_ref()?.event_id().to_string(),
            })
        }))
    }
}

/// What redacted events related to.
mod relations {
    use super::{Changes, Part, erasures};
    use crate::{families::family, rooms::RoomWrite};

    family! {
        "DELETE FROM relations l USING UNNEST($1::bigint[]) AS r (event_nid) WHERE l.event_nid = r.event_nid"
        {
            event_nid: i64,
        }
    }

    /// What was redacted relates to nothing any more.
    pub(crate) fn collect(changes: &Changes, rooms: &[&RoomWrite]) -> Option<Part> {
        let erasures = erasures(changes, rooms).into_iter();
        part(erasures.map(|(_, redacted)| Row {
            event_nid: redacted.event_nid.get(),
        }))
    }
}

pub(crate) use late_originals::collect as collect_late_originals;
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
