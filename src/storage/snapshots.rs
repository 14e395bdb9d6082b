//! The state of rooms at points of their history, stored in layers (see [`event::layers`]).
//!
//! A snapshot is found by its number, or by the digest of its state: equal states of a room share
//! a row. Nothing here touches the events themselves.

use std::collections::{BTreeMap, HashMap};

use event::layers::{Chain, Digest, Layer, StateSource};
use types::{EventNid, RoomNid, SnapshotNid, StateKeyNid};

use crate::{Connection, Error};

/// Stands for the event of a key that a layer takes away.
pub(crate) const TOMBSTONE: i64 = 0;

/// A complete state as numbers.
pub type StateNids = BTreeMap<StateKeyNid, EventNid>;

/// A layer to be stored as a snapshot.
#[derive(Clone, Debug)]
pub struct NewSnapshot {
    /// Its number.
    pub nid: SnapshotNid,
    /// What it is laid over; none when it holds the whole state.
    pub parent: Option<SnapshotNid>,
    /// How many layers are below it.
    pub depth: i16,
    /// Its keys with the event of each; none for a key that it takes away.
    pub entries: Vec<(StateKeyNid, Option<EventNid>)>,
    /// The digest of the whole state.
    pub digest: Digest,
}

impl NewSnapshot {
    /// The keys and events as columns hold them.
    pub(crate) fn columns(&self) -> (Vec<i64>, Vec<i64>) {
        let entries = self.entries.iter();
        entries
            .map(|(key, event)| (key.get(), event.map_or(TOMBSTONE, EventNid::get)))
            .unzip()
    }
}

/// A stored snapshot as a state can be laid over it.
#[derive(Clone, Debug, Default)]
pub struct StoredState {
    /// Its layers.
    pub chain: Chain,
    /// The whole state.
    pub state: StateNids,
    /// The state's digest.
    pub digest: Digest,
}

/// The layers of a stored state, without the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// The layers.
    pub chain: Chain,
    /// The state's digest.
    pub digest: Digest,
}

/// A complete state of a room that is to be stored.
#[derive(Debug)]
pub struct NewState<'a> {
    /// The room.
    pub room_nid: RoomNid,
    /// The number for its snapshot, if it is not there already.
    pub nid: SnapshotNid,
    /// A stored state from which it differs little; none to store it whole.
    pub parent: Option<&'a StoredState>,
    /// The state.
    pub state: &'a StateNids,
}

struct LayerRow {
    start_nid: i64,
    snapshot_nid: i64,
    key_nids: Vec<i64>,
    event_nids: Vec<i64>,
    digest: Vec<u8>,
}

/// Stores a state of a room and returns its number: that of an equal state that is stored already,
/// or else the new one.
#[tracing::instrument(name = "storage.snapshots.store", level = "debug", skip_all)]
pub async fn store(db: &mut Connection, new: NewState<'_>) -> Result<SnapshotNid, Error> {
    let digest = Digest::of(new.state.iter().map(|(key, event)| (*key, *event)));
    if let Some(found) = find_equal(db, new.room_nid, digest).await? {
        return Ok(found);
    }
    let mut chain = Chain::default();
    let mut changed = Vec::new();
    if let Some(parent) = new.parent {
        chain = parent.chain.clone();
        changed = diff(&parent.state, new.state)
            .map(|(key, ..)| key)
            .collect();
    }
    let layer = chain.push(new.nid, changed, &Source(new.state));
    let snapshot = NewSnapshot {
        nid: new.nid,
        parent: layer.parent,
        depth: layer.depth as i16,
        entries: layer.entries,
        digest,
    };
    let (keys, events) = snapshot.columns();
    let inserted = sqlx::query!(
        "INSERT INTO snapshots (snapshot_nid, room_nid, parent_nid, depth, key_nids, event_nids, digest)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (room_nid, digest) DO NOTHING",
        snapshot.nid.get(),
        new.room_nid.get(),
        snapshot.parent.map(SnapshotNid::get),
        snapshot.depth,
        &keys,
        &events,
        &digest.to_bytes()[..]
    )
    .execute(&mut *db)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(new.nid);
    }
    // Another process stored it in between.
    let found = find_equal(db, new.room_nid, digest).await?;
    found.ok_or_else(|| Error::Corrupt("a snapshot vanished while it was stored".to_owned()))
}

/// The snapshot of an equal state of the room; it is kept for another while.
pub async fn find_equal(
    db: &mut Connection,
    room_nid: RoomNid,
    digest: Digest,
) -> Result<Option<SnapshotNid>, Error> {
    let found = sqlx::query_scalar!(
        "UPDATE snapshots SET stored_at = now() WHERE room_nid = $1 AND digest = $2 RETURNING snapshot_nid",
        room_nid.get(),
        &digest.to_bytes()[..]
    )
    .fetch_optional(db)
    .await?;
    Ok(found.map(SnapshotNid))
}

struct Source<'a>(&'a StateNids);

impl StateSource for Source<'_> {
    fn event(&self, key: StateKeyNid) -> Option<EventNid> {
        self.0.get(&key).copied()
    }

    fn all(&self) -> Vec<(StateKeyNid, EventNid)> {
        self.0.iter().map(|(key, event)| (*key, *event)).collect()
    }
}

/// The snapshots with all that a state can be laid over; those that are not there are left out.
#[tracing::instrument(name = "storage.snapshots.read", level = "debug", skip_all)]
pub async fn read(
    db: &mut Connection,
    snapshots: &[SnapshotNid],
) -> Result<HashMap<SnapshotNid, StoredState>, Error> {
    let snapshots: Vec<i64> = snapshots.iter().map(|nid| nid.get()).collect();
    // Walks down the parents of all at once; their number is bounded.
    let rows = sqlx::query_as!(
        LayerRow,
        r#"WITH RECURSIVE chain AS (
            SELECT snapshot_nid AS start_nid, snapshot_nid, parent_nid, key_nids, event_nids, digest,
                0 AS height
            FROM snapshots WHERE snapshot_nid = ANY($1)
            UNION ALL
            SELECT c.start_nid, s.snapshot_nid, s.parent_nid, s.key_nids, s.event_nids, s.digest,
                c.height + 1
            FROM chain c JOIN snapshots s ON s.snapshot_nid = c.parent_nid
        )
        SELECT start_nid AS "start_nid!", snapshot_nid AS "snapshot_nid!", key_nids AS "key_nids!",
            event_nids AS "event_nids!", digest AS "digest!"
        FROM chain ORDER BY start_nid, height DESC"#,
        &snapshots
    )
    .fetch_all(db)
    .await?;
    let mut layers: HashMap<SnapshotNid, Vec<LayerRow>> = HashMap::new();
    for row in rows {
        layers
            .entry(SnapshotNid(row.start_nid))
            .or_default()
            .push(row);
    }
    let stored = layers.into_iter();
    stored
        .map(|(nid, layers)| Ok((nid, StoredState::of(layers)?)))
        .collect()
}

/// The layers of a snapshot; of the lowest one, which holds most of the state, no keys are read.
#[tracing::instrument(name = "storage.snapshots.read_layers", level = "debug", skip_all)]
pub async fn read_layers(
    db: &mut Connection,
    snapshot: SnapshotNid,
) -> Result<Option<Layers>, Error> {
    let rows = sqlx::query!(
        r#"WITH RECURSIVE chain AS (
            SELECT snapshot_nid, 0 AS height FROM snapshots WHERE snapshot_nid = $1
            UNION ALL
            SELECT s.parent_nid, c.height + 1
            FROM chain c JOIN snapshots s ON s.snapshot_nid = c.snapshot_nid WHERE s.parent_nid IS NOT NULL
        )
        SELECT s.snapshot_nid, cardinality(s.key_nids) AS "size!", s.digest,
            CASE WHEN s.parent_nid IS NULL THEN '{}' ELSE s.key_nids END AS "key_nids!"
        FROM chain c JOIN snapshots s ON s.snapshot_nid = c.snapshot_nid ORDER BY c.height DESC"#,
        snapshot.get()
    )
    .fetch_all(db)
    .await?;
    let Some(last) = rows.last() else {
        return Ok(None);
    };
    let digest = Digest::from_bytes(&last.digest)
        .ok_or_else(|| Error::Corrupt("the digest of a snapshot".to_owned()))?;
    let layers = rows.into_iter().map(|row| Layer {
        snapshot_nid: SnapshotNid(row.snapshot_nid),
        size: usize::try_from(row.size).unwrap_or_default(),
        keys: row.key_nids.into_iter().map(StateKeyNid).collect(),
    });
    let chain = Chain::new(layers.collect());
    Ok(Some(Layers { chain, digest }))
}

impl StoredState {
    /// Reads layers, the lowest first.
    fn of(rows: Vec<LayerRow>) -> Result<Self, Error> {
        let mut stored = Self::default();
        let mut layers = Vec::with_capacity(rows.len());
        for row in rows {
            for (key, event) in row.key_nids.iter().zip(&row.event_nids) {
                if *event == TOMBSTONE {
                    stored.state.remove(&StateKeyNid(*key));
                } else {
                    stored.state.insert(StateKeyNid(*key), EventNid(*event));
                }
            }
            let is_lowest = layers.is_empty();
            let keys = row.key_nids.iter().filter(|_| !is_lowest);
            layers.push(Layer {
                snapshot_nid: SnapshotNid(row.snapshot_nid),
                size: row.key_nids.len(),
                keys: keys.copied().map(StateKeyNid).collect(),
            });
            stored.digest = Digest::from_bytes(&row.digest)
                .ok_or_else(|| Error::Corrupt("the digest of a snapshot".to_owned()))?;
        }
        stored.chain = Chain::new(layers);
        Ok(stored)
    }
}

/// The events of some keys in a snapshot; keys without one are left out. Reads no more than the
/// layers hold of these keys.
pub async fn read_keys(
    db: &mut Connection,
    snapshot: SnapshotNid,
    keys: &[StateKeyNid],
) -> Result<StateNids, Error> {
    let mut found = read_keys_at(db, &[snapshot], keys).await?;
    Ok(found.remove(&snapshot).unwrap_or_default())
}

/// The events of some keys in each of some snapshots; keys without one are left out.
#[tracing::instrument(name = "storage.snapshots.read_keys", level = "debug", skip_all)]
pub async fn read_keys_at(
    db: &mut Connection,
    snapshots: &[SnapshotNid],
    keys: &[StateKeyNid],
) -> Result<HashMap<SnapshotNid, StateNids>, Error> {
    let snapshots: Vec<i64> = snapshots.iter().map(|nid| nid.get()).collect();
    let keys: Vec<i64> = keys.iter().map(|key| key.get()).collect();
    let rows = sqlx::query!(
        r#"WITH RECURSIVE chain AS (
            SELECT snapshot_nid AS start_nid, snapshot_nid, parent_nid, 0 AS height
            FROM snapshots WHERE snapshot_nid = ANY($1)
            UNION ALL
            SELECT c.start_nid, s.snapshot_nid, s.parent_nid, c.height + 1
            FROM chain c JOIN snapshots s ON s.snapshot_nid = c.parent_nid
        )
        SELECT DISTINCT ON (c.start_nid, w.key_nid) c.start_nid AS "start_nid!", w.key_nid AS "key_nid!",
            s.event_nids[array_position(s.key_nids, w.key_nid)] AS "event_nid!"
        FROM UNNEST($2::bigint[]) AS w (key_nid)
        CROSS JOIN chain c
        JOIN snapshots s ON s.snapshot_nid = c.snapshot_nid AND array_position(s.key_nids, w.key_nid) IS NOT NULL
        ORDER BY c.start_nid, w.key_nid, c.height"#,
        &snapshots,
        &keys
    )
    .fetch_all(db)
    .await?;
    let mut found: HashMap<SnapshotNid, StateNids> = HashMap::new();
    for row in rows.into_iter().filter(|row| row.event_nid != TOMBSTONE) {
        let state = found.entry(SnapshotNid(row.start_nid)).or_default();
        state.insert(StateKeyNid(row.key_nid), EventNid(row.event_nid));
    }
    Ok(found)
}

/// What turns one state into another: each key that differs, with the event that it has in the one
/// and in the other.
pub fn diff<'a>(
    from: &'a StateNids,
    to: &'a StateNids,
) -> impl Iterator<Item = (StateKeyNid, Option<EventNid>, Option<EventNid>)> + 'a {
    let changed = to.iter().filter_map(|(key, event)| {
        let before = from.get(key).copied();
        (before != Some(*event)).then_some((*key, before, Some(*event)))
    });
    let gone = from.iter().filter(|(key, _)| !to.contains_key(key));
    changed.chain(gone.map(|(key, event)| (*key, Some(*event), None)))
}

/// Deletes snapshots of some rooms that neither an event, nor the head of the room, nor another
/// snapshot refers to, and that were stored more than a day ago; returns how many.
///
/// Safe while the server runs: what is about to be referred to was stored, or found again by
/// [`store`], in the meantime, or is referred to by the event that it is taken from.
#[tracing::instrument(
    name = "storage.snapshots.collect_unreferenced",
    level = "debug",
    skip_all
)]
pub async fn collect_unreferenced(db: &mut Connection, rooms: &[RoomNid]) -> Result<u64, Error> {
    let rooms: Vec<i64> = rooms.iter().map(|room| room.get()).collect();
    let deleted = sqlx::query!(
        "WITH RECURSIVE used AS (
            (SELECT snapshot_nid FROM events WHERE room_nid = ANY($1) AND snapshot_nid IS NOT NULL
             UNION SELECT snapshot_nid FROM room_heads WHERE room_nid = ANY($1)
             UNION SELECT snapshot_nid FROM snapshots
                WHERE room_nid = ANY($1) AND stored_at >= now() - interval '1 day')
            UNION
            SELECT s.parent_nid FROM used u JOIN snapshots s ON s.snapshot_nid = u.snapshot_nid
            WHERE s.parent_nid IS NOT NULL
        )
        DELETE FROM snapshots s
        WHERE s.room_nid = ANY($1) AND NOT EXISTS (SELECT FROM used u WHERE u.snapshot_nid = s.snapshot_nid)",
        &rooms
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
