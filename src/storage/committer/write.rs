//! The statements of a batch before its positions are assigned.

use std::collections::{HashMap, HashSet};

use types::{EventNid, RoomNid};

use super::WriteSet;
use crate::{
    Change, Connection, Error,
    rooms::{NewRoom, RoomWrite},
    stream::{EventChange, append::array},
};

/// Compares and swaps the rooms' revisions, then writes the rows without a position of all rooms
/// that have no conflict.
pub(super) async fn write_state(
    db: &mut Connection,
    sets: &[&WriteSet],
) -> Result<Conflicts, Error> {
    let conflicts = rooms(db, sets).await?;
    let kept: Vec<&WriteSet> = sets
        .iter()
        .copied()
        .filter(|set| set.is_applied(&conflicts))
        .collect();
    snapshots(db, &kept).await?;
    current_state(db, &kept).await?;
    redactions(db, &kept).await?;
    Ok(conflicts)
}

/// Creates new rooms and swaps the revision of the others; returns the rooms with conflicts.
async fn rooms(db: &mut Connection, sets: &[&WriteSet]) -> Result<Conflicts, Error> {
    let (heads, mut conflicts) = heads(sets);
    let mut swaps = Vec::new();
    for (room_nid, head) in &heads {
        match head.create {
            Some(create) => insert(db, *room_nid, create, head).await?,
            None => swaps.push((*room_nid, head)),
        }
    }
    // In the order of the numbers: two processes that write to the same rooms must not deadlock.
    swaps.sort_by_key(|(room_nid, _)| *room_nid);
    if !swaps.is_empty() {
        let won = swap(db, &swaps).await?;
        let loses = |room_nid: &RoomNid| !won.contains(&room_nid.get());
        conflicts.extend(swaps.iter().map(|(room_nid, _)| *room_nid).filter(loses));
    }
    Ok(conflicts)
}

async fn insert(
    db: &mut Connection,
    room_nid: RoomNid,
    create: &NewRoom,
    head: &Head<'_>,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO rooms (room_nid, room_id, version, creator, revision, extremities, depth, snapshot_nid, in_directory)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        room_nid.get(),
        create.room_id.as_str(),
        create.version.as_str(),
        create.creator.as_str(),
        head.last.expected_revision + 1,
        &head.last.extremities.iter().map(|nid| nid.get()).collect::<Vec<_>>(),
        head.last.depth,
        head.last.snapshot_nid.get(),
        create.in_directory,
    )
    .execute(&mut *db)
    .await?;
    if let Some(alias) = &create.alias {
        sqlx::query!(
            "INSERT INTO room_aliases (alias, room_nid, creator) VALUES ($1, $2, $3)",
            alias.as_str(),
            room_nid.get(),
            create.creator.as_str(),
        )
        .execute(db)
        .await?;
    }
    Ok(())
}

/// Swaps the heads that match their expected revision and extremities; returns their rooms.
async fn swap(db: &mut Connection, swaps: &[(RoomNid, &Head<'_>)]) -> Result<Vec<i64>, Error> {
    let column = |of: fn(&Head<'_>) -> i64| swaps.iter().map(|(_, head)| of(head)).collect();
    let room_nids: Vec<i64> = swaps.iter().map(|(room_nid, _)| room_nid.get()).collect();
    let expected: Vec<i64> = column(|head| head.first.expected_revision);
    let revisions: Vec<i64> = column(|head| head.last.expected_revision + 1);
    let depths: Vec<i64> = column(|head| head.last.depth);
    let snapshots: Vec<i64> = column(|head| head.last.snapshot_nid.get());
    let extremities = |of: for<'h> fn(&'h Head<'_>) -> &'h [EventNid]| {
        swaps.iter().map(|(_, head)| array(of(head))).collect()
    };
    let expected_extremities: Vec<String> = extremities(|head| &head.first.expected_extremities);
    let extremities: Vec<String> = extremities(|head| &head.last.extremities);
    let won = sqlx::query_scalar!(
        "WITH locked AS (
            SELECT r.room_nid FROM rooms r
            JOIN UNNEST($1::bigint[], $2::bigint[], $7::text[]) AS w (room_nid, expected, extremities)
                ON w.room_nid = r.room_nid
            WHERE r.revision = w.expected AND r.extremities = w.extremities::bigint[]
            ORDER BY r.room_nid FOR NO KEY UPDATE OF r
        )
        UPDATE rooms r SET revision = w.revision, extremities = w.extremities::bigint[], depth = w.depth,
            snapshot_nid = w.snapshot_nid
        FROM locked, UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[])
            AS w (room_nid, expected, revision, extremities, depth, snapshot_nid)
        WHERE r.room_nid = locked.room_nid AND w.room_nid = r.room_nid AND r.revision = w.expected
        RETURNING r.room_nid",
        &room_nids,
        &expected,
        &revisions,
        &extremities,
        &depths,
        &snapshots,
        &expected_extremities,
    )
    .fetch_all(db)
    .await?;
    Ok(won)
}

/// Inserts the snapshots of new state events.
async fn snapshots(db: &mut Connection, sets: &[&WriteSet]) -> Result<(), Error> {
    let rows: Vec<_> = sets
        .iter()
        .filter_map(|set| set.room.as_ref())
        .flat_map(|room| {
            room.snapshots
                .iter()
                .map(|snapshot| (room.room_nid, snapshot))
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let nids: Vec<i64> = rows
        .iter()
        .map(|(_, snapshot)| snapshot.nid.get())
        .collect();
    let room_nids: Vec<i64> = rows.iter().map(|(room_nid, _)| room_nid.get()).collect();
    let parents: Vec<Option<i64>> = rows
        .iter()
        .map(|(_, snapshot)| snapshot.parent.map(types::SnapshotNid::get))
        .collect();
    let depths: Vec<i16> = rows.iter().map(|(_, snapshot)| snapshot.depth).collect();
    let events: Vec<String> = rows
        .iter()
        .map(|(_, snapshot)| array(&snapshot.events))
        .collect();
    sqlx::query!(
        "INSERT INTO snapshots (snapshot_nid, room_nid, parent_nid, depth, event_nids)
         SELECT r.nid, r.room_nid, r.parent, r.depth, r.events::bigint[]
         FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::text[])
            AS r (nid, room_nid, parent, depth, events)",
        &nids,
        &room_nids,
        &parents as &[Option<i64>],
        &depths,
        &events,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Upserts the current state.
async fn current_state(db: &mut Connection, sets: &[&WriteSet]) -> Result<(), Error> {
    let rows: HashMap<_, _> = events(sets)
        .filter(|change| change.current)
        .filter_map(|EventChange { event, .. }| {
            let key = (
                event.room_nid,
                event.pdu.event_type(),
                event.pdu.state_key()?,
            );
            Some((key, event.nid.get()))
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let room_nids: Vec<i64> = rows.keys().map(|(room_nid, ..)| room_nid.get()).collect();
    let event_types: Vec<String> = rows
        .keys()
        .map(|(_, event_type, _)| (*event_type).to_owned())
        .collect();
    let state_keys: Vec<String> = rows
        .keys()
        .map(|(.., state_key)| (*state_key).to_owned())
        .collect();
    let event_nids: Vec<i64> = rows.values().copied().collect();
    sqlx::query!(
        "INSERT INTO current_state (room_nid, event_type, state_key, event_nid)
         SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::bigint[])
         ON CONFLICT (room_nid, event_type, state_key) DO UPDATE SET event_nid = excluded.event_nid",
        &room_nids,
        &event_types,
        &state_keys,
        &event_nids,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Replaces redacted events by their redacted form.
async fn redactions(db: &mut Connection, sets: &[&WriteSet]) -> Result<(), Error> {
    let rows: HashMap<_, _> = events(sets)
        .filter_map(|change| {
            let redacts = change.redacts.as_ref()?;
            Some((redacts.event_nid, (change.event.nid, redacts)))
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let targets: Vec<i64> = rows.keys().map(|nid| nid.get()).collect();
    let by: Vec<i64> = rows.values().map(|(nid, _)| nid.get()).collect();
    let texts: Vec<String> = rows
        .values()
        .map(|(_, redacts)| redacts.pdu.json().to_owned())
        .collect();
    sqlx::query!(
        "UPDATE events e SET redacted_by_nid = w.by_nid, json = w.json
         FROM UNNEST($1::bigint[], $2::bigint[], $3::text[]) AS w (event_nid, by_nid, json)
         WHERE e.event_nid = w.event_nid",
        &targets,
        &by,
        &texts,
    )
    .execute(db)
    .await?;
    Ok(())
}

fn events<'s>(sets: &[&'s WriteSet]) -> impl Iterator<Item = &'s EventChange> {
    let changes = sets.iter().flat_map(|set| set.changes.numbered());
    changes.filter_map(|(_, change)| match change {
        Change::Event(change) => Some(change),
        _ => None,
    })
}

/// The rooms whose head is not the one that their write sets expect.
pub(super) type Conflicts = HashSet<RoomNid>;

/// Combines the head updates of all sets of each room.
fn heads<'s>(sets: &[&'s WriteSet]) -> (HashMap<RoomNid, Head<'s>>, Conflicts) {
    let mut heads: HashMap<RoomNid, Head<'s>> = HashMap::new();
    let mut conflicts = Conflicts::new();
    for room in sets.iter().filter_map(|set| set.room.as_ref()) {
        let head = heads.entry(room.room_nid).or_insert(Head {
            first: room,
            create: room.create.as_ref(),
            last: room,
        });
        // A set that does not continue the one before it was built on another head.
        if !std::ptr::eq(head.last, room)
            && (room.expected_revision != head.last.expected_revision + 1
                || room.expected_extremities != head.last.extremities)
        {
            conflicts.insert(room.room_nid);
        }
        head.last = room;
    }
    heads.retain(|room_nid, _| !conflicts.contains(room_nid));
    (heads, conflicts)
}

/// The combined head update of one room in a batch.
struct Head<'a> {
    first: &'a RoomWrite,
    create: Option<&'a NewRoom>,
    last: &'a RoomWrite,
}
