//! The heads of a batch's rooms, swapped before its positions are assigned.

use std::collections::{HashMap, HashSet};

use types::RoomNid;

use super::WriteSet;
use crate::{
    Connection, Error,
    families::array,
    rooms::{HeadVersion, NewRoom, RoomWrite},
};

/// Creates new rooms and swaps the revision of the others; returns the rooms that lost the comparison.
///
/// `writer` is the number of this process.
pub(super) async fn swap_heads(
    db: &mut Connection,
    sets: &[&WriteSet],
    writer: i64,
) -> Result<Conflicts, Error> {
    let (heads, mut conflicts) = heads(sets);
    let mut swaps = Vec::new();
    for (room_nid, head) in &heads {
        match head.create {
            Some(create) if head.first.expected.revision == 0 => {
                insert_room(db, *room_nid, create).await?;
                insert_head(db, *room_nid, create, head, writer).await?;
            }
            Some(create) => {
                insert_room(db, *room_nid, create).await?;
                swaps.push((*room_nid, head));
            }
            None => swaps.push((*room_nid, head)),
        }
    }
    // In the order of the numbers: two processes that write to the same rooms must not deadlock.
    swaps.sort_by_key(|(room_nid, _)| *room_nid);
    if !swaps.is_empty() {
        let won = swap(db, &swaps, writer).await?;
        let loses = |room_nid: &RoomNid| !won.contains(&room_nid.get());
        conflicts.extend(swaps.iter().map(|(room_nid, _)| *room_nid).filter(loses));
    }
    Ok(conflicts)
}

async fn insert_head(
    db: &mut Connection,
    room_nid: RoomNid,
    create: &NewRoom,
    head: &HeadUpdate<'_>,
    writer: i64,
) -> Result<(), Error> {
    let next = &head.last.next;
    let extremities: Vec<i64> = next
        .version
        .extremities
        .iter()
        .map(|nid| nid.get())
        .collect();
    sqlx::query!(
        "INSERT INTO room_heads (room_nid, revision, extremities, depth, snapshot_nid, writer)
         VALUES ($1, $2, $3, $4, $5, $6)",
        room_nid.get(),
        next.version.revision,
        &extremities,
        next.depth,
        next.snapshot_nid.get(),
        writer,
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

async fn insert_room(
    db: &mut Connection,
    room_nid: RoomNid,
    create: &NewRoom,
) -> Result<(), Error> {
    if create.is_known {
        sqlx::query!(
            "UPDATE rooms SET version = $2, creator = $3, status = $4 WHERE room_nid = $1",
            room_nid.get(),
            create.version.as_str(),
            create.creator.as_str(),
            create.status.number(),
        )
        .execute(db)
        .await?;
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO rooms (room_nid, room_id, version, creator, in_directory) VALUES ($1, $2, $3, $4, $5)",
        room_nid.get(),
        create.room_id.as_str(),
        create.version.as_str(),
        create.creator.as_str(),
        create.in_directory,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Swaps the heads that match their expected revision and extremities; returns their rooms.
///
/// A room that another process is writing to has a conflict at once: the batch does not wait for it.
async fn swap(
    db: &mut Connection,
    swaps: &[(RoomNid, &HeadUpdate<'_>)],
    writer: i64,
) -> Result<Vec<i64>, Error> {
    let column = |of: fn(&HeadUpdate<'_>) -> i64| swaps.iter().map(|(_, head)| of(head)).collect();
    let room_nids: Vec<i64> = swaps.iter().map(|(room_nid, _)| room_nid.get()).collect();
    let expected: Vec<i64> = column(|head| head.first.expected.revision);
    let revisions: Vec<i64> = column(|head| head.last.next.version.revision);
    let depths: Vec<i64> = column(|head| head.last.next.depth);
    let snapshots: Vec<i64> = column(|head| head.last.next.snapshot_nid.get());
    let extremities = |of: for<'h> fn(&'h HeadUpdate<'_>) -> &'h HeadVersion| {
        let nids = |head| of(head).extremities.iter().map(|nid| nid.get());
        swaps.iter().map(|(_, head)| array(nids(head))).collect()
    };
    let expected_extremities: Vec<String> = extremities(|head| &head.first.expected);
    let extremities: Vec<String> = extremities(|head| &head.last.next.version);
    let won = sqlx::query_scalar!(
        "WITH locked AS (
            SELECT r.room_nid FROM room_heads r
            JOIN UNNEST($1::bigint[], $2::bigint[], $7::text[]) AS w (room_nid, expected, extremities)
                ON w.room_nid = r.room_nid
            WHERE r.revision = w.expected AND r.extremities = w.extremities::bigint[]
            ORDER BY r.room_nid FOR NO KEY UPDATE OF r SKIP LOCKED
        )
        UPDATE room_heads r SET revision = w.revision, extremities = w.extremities::bigint[], depth = w.depth,
            snapshot_nid = w.snapshot_nid, writer = $8
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
        writer,
    )
    .fetch_all(db)
    .await?;
    Ok(won)
}

/// The rooms whose head is not the one that their write sets expect.
pub(super) type Conflicts = HashSet<RoomNid>;

/// Combines the head updates of all sets of each room.
fn heads<'s>(sets: &[&'s WriteSet]) -> (HashMap<RoomNid, HeadUpdate<'s>>, Conflicts) {
    let mut heads: HashMap<RoomNid, HeadUpdate<'s>> = HashMap::new();
    let mut conflicts = Conflicts::new();
    for room in sets.iter().filter_map(|set| set.room.as_ref()) {
        let head = heads.entry(room.room_nid).or_insert(HeadUpdate {
            first: room,
            create: room.create.as_ref(),
            last: room,
        });
        // A set that does not continue the one before it was built on another head.
        if !std::ptr::eq(head.last, room) && room.expected != head.last.next.version {
            conflicts.insert(room.room_nid);
        }
        head.last = room;
    }
    heads.retain(|room_nid, _| !conflicts.contains(room_nid));
    (heads, conflicts)
}

/// The combined head update of one room in a batch.
struct HeadUpdate<'a> {
    first: &'a RoomWrite,
    create: Option<&'a NewRoom>,
    last: &'a RoomWrite,
}
