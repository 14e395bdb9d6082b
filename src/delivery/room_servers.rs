//! Which servers are in a room when an event is sent.

use std::collections::{BTreeSet, HashMap};

use event::acl::ServerAcl;
use ruma::{OwnedRoomId, OwnedServerName, ServerName, events::room::member::MembershipState};
use storage::{
    Database, Error, StoredEvent,
    deliveries::{self, JoinedServers},
    partial_states::{self, StatedSpan},
    stream::{StateChange, StateDelta},
};
use types::{EventNid, RoomNid, StreamPosition};

/// The most counts that are kept, of rooms and of servers in them.
const MAX_COUNTS: usize = 200_000;

/// The servers in rooms at one position of the stream, which moves on with the state of the rooms.
#[derive(Debug, Default)]
pub(crate) struct RoomServers {
    rooms: HashMap<RoomNid, RoomEntry>,
    /// How many rooms there are, and servers in them; about, as it does not follow the state.
    counts: usize,
    position: StreamPosition,
}

/// A room with the servers in it.
#[derive(Debug)]
pub(crate) struct RoomEntry {
    pub(crate) room_id: OwnedRoomId,
    joined: JoinedServers,
    /// The servers that are, or were, said to be in it while its members were not known.
    stated: Option<StatedSpan>,
    acl: Option<ServerAcl>,
}

/// An event that other servers are to have.
#[derive(Debug)]
pub(crate) struct SentEvent {
    /// Its place in the stream.
    pub(crate) position: StreamPosition,
    pub(crate) room_nid: RoomNid,
    pub(crate) event_nid: EventNid,
    /// The server of who sent it.
    pub(crate) origin: OwnedServerName,
    /// Whose membership it is about, if it is a member event. It may be no user id.
    member: Option<String>,
}

/// What of a room's state changed where.
pub(crate) type Deltas = [(StreamPosition, StateDelta)];

impl SentEvent {
    pub(crate) fn new(position: StreamPosition, event: &StoredEvent) -> Self {
        let pdu = &event.pdu;
        let member = pdu.state_key();
        Self {
            position,
            room_nid: event.room_nid,
            event_nid: event.nid,
            origin: pdu.sender().server_name().to_owned(),
            member: member
                .filter(|_| pdu.event_type() == "m.room.member")
                .map(ToOwned::to_owned),
        }
    }
}

impl RoomEntry {
    /// The servers with users who are known to be in it.
    fn servers(&self) -> impl Iterator<Item = OwnedServerName> {
        let present = self.joined.iter().filter(|(_, joined)| **joined > 0);
        present.map(|(server_name, _)| server_name.clone())
    }

    /// These, and the servers that were said to be in it at a position.
    pub(crate) fn servers_at(&self, position: StreamPosition) -> BTreeSet<OwnedServerName> {
        let stated = self.stated.iter().filter(|span| span.contains(position));
        let stated = stated.flat_map(|span| span.servers.iter().cloned());
        self.servers().chain(stated).collect()
    }

    /// Whether its ACL lets a server take part: one that it does not is sent nothing but events.
    pub(crate) fn allows(&self, server_name: &ServerName) -> bool {
        let acl = self.acl.as_ref();
        acl.is_none_or(|acl| acl.allows(server_name))
    }

    /// Follows a change of the state, or takes back what it did to the servers when `sign` is negative.
    fn apply(&mut self, change: &StateChange, sign: i64) {
        let Some(event) = change.event() else {
            return;
        };
        if sign > 0 && event.event_type() == "m.room.server_acl" && event.state_key() == Some("") {
            let acl = change.to.as_ref();
            self.acl = acl.map(|acl| ServerAcl::of_event(acl.pdu.json()));
        }
        let Some((before, after)) = change.memberships() else {
            return;
        };
        let joined = |membership| i64::from(membership == Some(MembershipState::Join));
        let step = (joined(after) - joined(before)) * sign;
        let server_name = event.state_key().and_then(server_of);
        let Some(server_name) = server_name.filter(|_| step != 0) else {
            return;
        };
        let count = self.joined.entry(server_name.clone()).or_default();
        *count += step;
        if *count == 0 {
            self.joined.remove(&server_name);
        }
    }
}

impl RoomServers {
    /// Removes a room of which it is not known any more which servers are said to be in it.
    pub(crate) fn remove(&mut self, room_nid: RoomNid) {
        if let Some(room) = self.rooms.remove(&room_nid) {
            self.counts = self.counts.saturating_sub(1 + room.joined.len());
        }
    }

    /// Makes rooms known as they were at a position, from which it goes on. No statement if they are.
    pub(crate) async fn load(
        &mut self,
        database: &Database,
        rooms: &BTreeSet<RoomNid>,
        position: StreamPosition,
    ) -> Result<(), Error> {
        if position != self.position || self.counts > MAX_COUNTS {
            self.rooms.clear();
            self.counts = 0;
            self.position = position;
        }
        let unknown = rooms.iter().filter(|room| !self.rooms.contains_key(room));
        let unknown: Vec<RoomNid> = unknown.copied().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let mut db = database.snapshot().await?;
        let mut joined = deliveries::joined_servers(&mut db, &unknown).await?;
        let mut stated = partial_states::stated_servers(&mut db, &unknown, position).await?;
        for (room_nid, room) in deliveries::rooms(&mut db, &unknown).await? {
            let entry = RoomEntry {
                room_id: room.room_id,
                joined: joined.remove(&room_nid).unwrap_or_default(),
                stated: stated.remove(&room_nid),
                acl: room.server_acl.map(|json| ServerAcl::of_event(&json)),
            };
            self.counts += 1 + entry.joined.len();
            self.rooms.insert(room_nid, entry);
        }
        for (_, delta) in deliveries::state_since(&mut db, &unknown, position).await? {
            self.apply(&delta, -1);
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
                self.apply(delta, 1);
            }
            let mut servers = self.servers_at(event.room_nid, event.position);
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
            self.apply(delta, 1);
        }
        self.position = until;
        sent
    }

    /// A room that was loaded.
    pub(crate) fn room(&self, room_nid: RoomNid) -> Option<&RoomEntry> {
        self.rooms.get(&room_nid)
    }

    /// The servers in a room that was loaded, and those that were said to be in it at a position.
    pub(crate) fn servers_at(
        &self,
        room_nid: RoomNid,
        position: StreamPosition,
    ) -> BTreeSet<OwnedServerName> {
        let room = self.room(room_nid);
        room.map(|room| room.servers_at(position))
            .unwrap_or_default()
    }

    /// The servers with users who are known to be in a room that was loaded.
    pub(crate) fn servers(&self, room_nid: RoomNid) -> impl Iterator<Item = OwnedServerName> {
        let room = self.room(room_nid).into_iter();
        room.flat_map(RoomEntry::servers)
    }

    /// The servers that were in a room for a while without being believed to be.
    pub(crate) fn missed(&self, room_nid: RoomNid) -> impl Iterator<Item = &OwnedServerName> {
        let stated = self.room(room_nid).and_then(|room| room.stated.as_ref());
        stated.into_iter().flat_map(|span| &span.missed)
    }

    fn apply(&mut self, delta: &StateDelta, sign: i64) {
        if let Some(room) = self.rooms.get_mut(&delta.room_nid) {
            for change in &delta.changes {
                room.apply(change, sign);
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
