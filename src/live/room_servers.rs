//! Which servers have users in rooms: read once, then advanced by the stream.

use std::collections::{BTreeSet, HashMap};

use ruma::{OwnedServerName, ServerName, UserId};
use storage::{Change, Error, deliveries, stream, stream::StateChange};
use types::RoomNid;

use crate::{
    Live,
    cache::LiveCache,
    load::LogRetention,
    presence::{PresenceNotice, joins_and_leaves},
};

/// The most counts that are kept.
const MAX_COUNTS: usize = 200_000;

/// How many users of each server are in the rooms for which that was asked.
#[derive(Debug, Default)]
pub(crate) struct RoomServers(HashMap<RoomNid, HashMap<OwnedServerName, i64>>);

impl RoomServers {
    fn contains(&self, room_nid: RoomNid) -> bool {
        self.0.contains_key(&room_nid)
    }

    /// Counts a user who joins or leaves a room; returns the user's server if it is new in the room,
    /// or if that is not known.
    fn count<'u>(
        &mut self,
        room_nid: RoomNid,
        user_id: &'u UserId,
        is_joined: bool,
    ) -> Option<&'u ServerName> {
        let server_name = user_id.server_name();
        let Some(servers) = self.0.get_mut(&room_nid) else {
            return is_joined.then_some(server_name);
        };
        let count = servers.entry(server_name.to_owned()).or_default();
        *count += if is_joined { 1 } else { -1 };
        let is_new = is_joined && *count == 1;
        if *count <= 0 {
            servers.remove(server_name);
        }
        is_new.then_some(server_name)
    }
}

impl Live {
    /// The servers with users in at least one of these rooms, this server included. One query for all
    /// rooms for which that was not asked before.
    pub async fn servers_in(&self, rooms: &[RoomNid]) -> Result<BTreeSet<OwnedServerName>, Error> {
        let missing: Vec<RoomNid> = {
            let cache = self.0.cache.read();
            let missing = rooms
                .iter()
                .filter(|room| !cache.room_servers.contains(**room));
            missing.copied().collect()
        };
        let loaded = if missing.is_empty() {
            HashMap::new()
        } else {
            self.load_servers(&missing).await?
        };
        let cache = self.0.cache.read();
        let known = &cache.room_servers.0;
        let servers = |room_nid| known.get(room_nid).or_else(|| loaded.get(room_nid));
        let servers = rooms.iter().filter_map(servers).flat_map(HashMap::keys);
        let servers: BTreeSet<&OwnedServerName> = servers.collect();
        Ok(servers.into_iter().cloned().collect())
    }

    async fn load_servers(
        &self,
        rooms: &[RoomNid],
    ) -> Result<HashMap<RoomNid, HashMap<OwnedServerName, i64>>, Error> {
        let retention = LogRetention::begin(self);
        let mut db = self.0.database.snapshot().await?;
        let position = stream::position(&mut db).await?;
        let mut joined = deliveries::joined_servers(&mut db, rooms).await?;
        db.commit().await?;
        for room_nid in rooms {
            joined.entry(*room_nid).or_default();
        }
        let mut loaded = RoomServers(joined);
        {
            let mut cache = self.0.cache.write();
            for batch in &cache.log {
                for (at, change) in &batch.changes {
                    if let Change::State(delta) = change
                        && *at > position
                        && loaded.contains(delta.room_nid)
                    {
                        for (user_id, is_joined) in joins_and_leaves(&delta.changes) {
                            loaded.count(delta.room_nid, user_id, is_joined);
                        }
                    }
                }
            }
            let known = &mut cache.room_servers.0;
            let counts: usize = known.values().map(HashMap::len).sum();
            if counts > MAX_COUNTS {
                known.clear();
            }
            known.extend(loaded.0.clone());
        }
        drop(retention);
        Ok(loaded.0)
    }
}

impl LiveCache {
    /// Follows who joins and leaves a room: presence, and the servers in the room.
    pub(crate) fn apply_joins(&mut self, room_nid: RoomNid, changes: &[StateChange]) {
        let mut new = BTreeSet::new();
        for (user_id, is_joined) in joins_and_leaves(changes) {
            self.apply_presence_membership(room_nid, user_id, is_joined);
            let server_name = self.room_servers.count(room_nid, user_id, is_joined);
            new.extend(server_name.map(ToOwned::to_owned));
        }
        if !new.is_empty()
            && let Some(notices) = &self.presence_notices
        {
            let new = new.into_iter().collect();
            // Whoever cannot keep up misses some.
            let _full = notices.try_send(PresenceNotice::ServersJoined(room_nid, new));
        }
    }
}
