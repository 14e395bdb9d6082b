//! What lists of rooms are sorted and filtered by, of all rooms that somebody has listed: much less
//! than the rooms themselves.

use std::collections::HashMap;

use storage::{
    Error,
    room_overviews::{self, RoomOverview},
    stream::{self, StateChange},
};
use types::{RoomNid, StreamPosition};

use crate::{Live, cache::LiveCache};

/// The overviews of rooms, kept up to date by the stream.
#[derive(Debug)]
pub(crate) struct RoomOverviews {
    rooms: HashMap<RoomNid, RoomOverview>,
    max: usize,
}

impl RoomOverviews {
    /// Keeps those of up to `max` rooms.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            rooms: HashMap::new(),
            max,
        }
    }

    /// Records an event of a room.
    pub(crate) fn record_event(&mut self, room_nid: RoomNid, position: StreamPosition) {
        if let Some(room) = self.rooms.get_mut(&room_nid) {
            room.last_event = room.last_event.max(position);
        }
    }

    /// Records changes of the state of a room.
    pub(crate) fn record_state(&mut self, room_nid: RoomNid, changes: &[StateChange]) {
        let Some(room) = self.rooms.get_mut(&room_nid) else {
            return;
        };
        for change in changes {
            let key = change.event();
            let key = key.map(|event| (event.event_type(), event.state_key()));
            match key {
                Some(("m.room.encryption", Some(""))) => room.is_encrypted = change.to.is_some(),
                Some(("m.room.create", Some(""))) => {
                    let create = change.to.as_ref();
                    room.room_type =
                        create.and_then(|event| room_overviews::room_type(event.pdu.json()));
                }
                _ => {}
            }
        }
    }

    fn insert(&mut self, room_nid: RoomNid, overview: RoomOverview) {
        // Who lists rooms again reads them again, all at once.
        if self.rooms.len() >= self.max {
            self.rooms.clear();
        }
        if self.max > 0 {
            self.rooms.entry(room_nid).or_insert(overview);
        }
    }
}

impl LiveCache {
    /// Keeps an overview that was read from a snapshot of the database taken at a position, unless the
    /// room may have changed since; when it last changed counts as its last event then.
    fn insert_overview(
        &mut self,
        room_nid: RoomNid,
        overview: &mut RoomOverview,
        read_at: StreamPosition,
    ) {
        let changed = self.changes.get(&room_nid).copied().unwrap_or_default();
        if changed > read_at {
            overview.last_event = changed;
        } else if self.started <= read_at {
            self.overviews.insert(room_nid, overview.clone());
        }
    }
}

impl Live {
    /// The overviews of rooms: one query for all that are not in memory.
    pub async fn room_overviews(
        &self,
        room_nids: impl IntoIterator<Item = RoomNid>,
    ) -> Result<HashMap<RoomNid, RoomOverview>, Error> {
        let (mut found, mut missing) = (HashMap::new(), Vec::new());
        {
            let cache = self.0.cache.read();
            for room_nid in room_nids {
                match cache.overviews.rooms.get(&room_nid) {
                    Some(overview) => {
                        found.insert(room_nid, overview.clone());
                    }
                    None => missing.push(room_nid),
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let mut db = self.0.database.snapshot().await?;
        let read_at = stream::position(&mut db).await?;
        let mut read = room_overviews::read(&mut db, &missing).await?;
        db.commit().await?;
        // What came after the snapshot is either applied by now, or will be to what is kept here.
        self.wait_until_applied(read_at).await;
        let mut cache = self.0.cache.write();
        for (room_nid, overview) in &mut read {
            cache.insert_overview(*room_nid, overview, read_at);
        }
        drop(cache);
        found.extend(read);
        Ok(found)
    }
}
