//! Which servers are in a room when an event is sent.

use std::collections::{BTreeSet, HashMap};

use ruma::{OwnedServerName, events::room::member::MembershipState};
use storage::{
    Connection, Error,
    deliveries::{self, JoinedServers, SentEvent},
    stream::StateDelta,
};
use types::{RoomNid, StreamPosition};

/// The most counts that are kept.
const MAX_COUNTS: usize = 200_000;

/// The servers in rooms at one position of the stream, which moves on with the state of the rooms.
#[derive(Debug, Default)]
pub(crate) struct RoomServers {
    rooms: HashMap<RoomNid, JoinedServers>,
    position: StreamPosition,
}

/// What of a room's state changed where.
pub(crate) type Deltas = [(StreamPosition, StateDelta)];

impl RoomServers {
    /// Makes rooms known as they were at a position, from which it goes on. Reads in a snapshot.
    pub(crate) async fn load(
        &mut self,
        db: &mut Connection,
        rooms: &BTreeSet<RoomNid>,
        position: StreamPosition,
    ) -> Result<(), Error> {
        let counts: usize = self.rooms.values().map(HashMap::len).sum();
        if position != self.position || counts > MAX_COUNTS {
            self.rooms.clear();
            self.position = position;
        }
        let unknown = rooms.iter().filter(|room| !self.rooms.contains_key(room));
        let unknown: Vec<RoomNid> = unknown.copied().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let mut joined = deliveries::joined_servers(db, &unknown).await?;
        for room_nid in &unknown {
            let room = joined.remove(room_nid).unwrap_or_default();
            self.rooms.insert(*room_nid, room);
        }
        for (_, delta) in deliveries::state_since(db, &unknown, position).await? {
            self.count(&delta, -1);
        }
        Ok(())
    }

    /// Goes through events in order and tells the servers that are to have each: those that were in
    /// the room before it, and the one of a user whom it removes from the room.
    pub(crate) fn advance<'a>(
        &mut self,
        events: &'a [SentEvent],
        deltas: &Deltas,
        until: StreamPosition,
    ) -> Vec<(&'a SentEvent, BTreeSet<OwnedServerName>)> {
        let mut deltas = deltas.iter().peekable();
        let mut sent = Vec::new();
        for event in events {
            while let Some((_, delta)) = deltas.next_if(|(at, _)| *at < event.position) {
                self.count(delta, 1);
            }
            let mut servers = self.servers(event.room_nid);
            // What an event changes stands right after it.
            let next = deltas.peek().filter(|(_, delta)| {
                let is_cause = |nid| nid == event.event_nid;
                delta.room_nid == event.room_nid
                    && delta
                        .changes
                        .iter()
                        .any(|change| change.to.as_ref().is_some_and(|to| is_cause(to.nid)))
            });
            if let Some((_, delta)) = next {
                servers.extend(removed(event, delta));
            }
            sent.push((event, servers));
        }
        for (_, delta) in deltas {
            self.count(delta, 1);
        }
        self.position = until;
        sent
    }

    /// The servers in a room that was loaded.
    pub(crate) fn servers(&self, room_nid: RoomNid) -> BTreeSet<OwnedServerName> {
        let room = self.rooms.get(&room_nid).into_iter().flatten();
        room.filter(|(_, joined)| **joined > 0)
            .map(|(server_name, _)| server_name.clone())
            .collect()
    }

    /// Follows a change of the state, or takes it back when `sign` is negative.
    fn count(&mut self, delta: &StateDelta, sign: i64) {
        let Some(room) = self.rooms.get_mut(&delta.room_nid) else {
            return;
        };
        for change in &delta.changes {
            let Some((before, after)) = change.memberships() else {
                continue;
            };
            let joined = |membership| i64::from(membership == Some(MembershipState::Join));
            let step = (joined(after) - joined(before)) * sign;
            let member = change.event().and_then(|pdu| pdu.state_key());
            let Some(server_name) = member.and_then(server_of).filter(|_| step != 0) else {
                continue;
            };
            let count = room.entry(server_name.clone()).or_default();
            *count += step;
            if *count == 0 {
                room.remove(&server_name);
            }
        }
    }
}

/// The server of a user whom an event removes from the room or its door.
fn removed(event: &SentEvent, delta: &StateDelta) -> Option<OwnedServerName> {
    let member = event.member.as_deref()?;
    let change = delta.changes.iter().find(|change| {
        let to = change.to.as_ref();
        to.is_some_and(|to| to.nid == event.event_nid)
    })?;
    let (_, after) = change.memberships()?;
    matches!(after?, MembershipState::Leave | MembershipState::Ban)
        .then(|| server_of(member))
        .flatten()
}

fn server_of(user_id: &str) -> Option<OwnedServerName> {
    let (_, server_name) = user_id.split_once(':')?;
    OwnedServerName::try_from(server_name).ok()
}
