//! Events that are known for the state or the auth chain only, and events by their ids.

use ruma::OwnedEventId;
use types::{EventNid, RoomNid};

use super::{Row, StoredEvent, collect, verdict_number};
use crate::{Connection, Error, escape::escape, families::array, rows::id};

/// The events of those ids that are known, of whichever room, whatever their verdict, in no order.
pub async fn by_ids(
    db: &mut Connection,
    event_ids: &[OwnedEventId],
) -> Result<Vec<StoredEvent>, Error> {
    let ids: Vec<String> = event_ids.iter().map(ToString::to_string).collect();
    collect(
        select_events!("WHERE e.event_id = ANY($1)", &ids)
            .fetch_all(db)
            .await?,
    )
}

/// The redactions of a room that came before what they redact, each with its target, one of these events;
/// in the order in which they came. Of one event the first twenty are kept.
pub async fn pending_redactions(
    db: &mut Connection,
    room_nid: RoomNid,
    targets: &[OwnedEventId],
) -> Result<Vec<(OwnedEventId, StoredEvent)>, Error> {
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    let pending = sqlx::query!(
        "SELECT target_event_id, redaction_nid FROM pending_redactions
         WHERE room_nid = $1 AND target_event_id = ANY($2) ORDER BY redaction_nid",
        room_nid.get(),
        &targets
    )
    .fetch_all(&mut *db)
    .await?;
    if pending.is_empty() {
        return Ok(Vec::new());
    }
    let nids: Vec<EventNid> = pending
        .iter()
        .map(|row| EventNid(row.redaction_nid))
        .collect();
    let redactions = super::by_nids(db, &nids).await?;
    let mut found = Vec::new();
    for row in pending {
        let mut redactions = redactions.iter();
        let redaction = redactions.find(|event| event.nid.get() == row.redaction_nid);
        if let Some(redaction) = redaction {
            found.push((id(row.target_event_id)?, redaction.clone()));
        }
    }
    Ok(found)
}

/// The numbers of the events that authorise these, directly or by way of others. These are among
/// them only if they authorise others of them.
#[tracing::instrument(name = "storage.events.auth_chain", level = "debug", skip_all)]
pub async fn auth_chain(db: &mut Connection, nids: &[EventNid]) -> Result<Vec<EventNid>, Error> {
    let nids: Vec<i64> = nids.iter().map(|nid| nid.get()).collect();
    let chain = sqlx::query_scalar!(
        r#"WITH RECURSIVE chain AS (
            SELECT a.event_nid FROM events e, UNNEST(e.auth_nids) AS a (event_nid) WHERE e.event_nid = ANY($1)
            UNION
            SELECT a.event_nid FROM chain c JOIN events e ON e.event_nid = c.event_nid,
                UNNEST(e.auth_nids) AS a (event_nid)
        )
        SELECT event_nid AS "event_nid!" FROM chain"#,
        &nids
    )
    .fetch_all(db)
    .await?;
    Ok(chain.into_iter().map(EventNid).collect())
}

/// Stores events as outliers; returns how many were not known before.
#[tracing::instrument(name = "storage.events.insert_outliers", level = "debug", skip_all, fields(events = events.len()))]
pub async fn insert_outliers(db: &mut Connection, events: &[StoredEvent]) -> Result<u64, Error> {
    let numbers = |of: fn(&StoredEvent) -> i64| events.iter().map(of).collect::<Vec<i64>>();
    let texts = |of: fn(&StoredEvent) -> String| events.iter().map(of).collect::<Vec<String>>();
    let state_keys = events.iter().map(|event| {
        let state_key = event.pdu.state_key();
        state_key.map(|key| escape(key).into_owned())
    });
    let state_keys: Vec<Option<String>> = state_keys.collect();
    let verdicts = events
        .iter()
        .map(|event| verdict_number(event.pdu.verdict()));
    let verdicts: Vec<i16> = verdicts.collect();
    let inserted = sqlx::query!(
        "INSERT INTO events (event_nid, room_nid, event_id, depth, event_type, state_key, sender,
            origin_server_ts, verdict, auth_nids, json)
         SELECT r.event_nid, r.room_nid, r.event_id, r.depth, r.event_type, r.state_key, r.sender,
            r.origin_server_ts, r.verdict, r.auth_nids::bigint[], r.json
         FROM UNNEST($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
            $8::bigint[], $9::smallint[], $10::text[], $11::text[])
            AS r (event_nid, room_nid, event_id, depth, event_type, state_key, sender, origin_server_ts,
            verdict, auth_nids, json)
         ON CONFLICT (event_id) DO NOTHING",
        &numbers(|event| event.nid.get()),
        &numbers(|event| event.room_nid.get()),
        &texts(|event| event.pdu.event_id().to_string()),
        &numbers(|event| i64::try_from(event.pdu.depth()).unwrap_or(i64::MAX)),
        &texts(|event| escape(event.pdu.event_type()).into_owned()),
        &state_keys as &[Option<String>],
        &texts(|event| escape(event.pdu.sender().as_str()).into_owned()),
        &numbers(|event| i64::from(event.pdu.origin_server_ts().0)),
        &verdicts,
        &texts(|event| array(event.auth_nids.iter().map(|nid| nid.get()))),
        &texts(|event| event.pdu.json().to_owned()),
    )
    .execute(db)
    .await?;
    Ok(inserted.rows_affected())
}
