//! What a user may see of a room's past, and what the user was to the room then.
//!
//! Spec: client-server, "Room history visibility".

use std::collections::HashMap;

use event::{
    Pdu,
    visibility::{self, history_visibility},
};
use ruma::{
    UserId,
    events::room::{history_visibility::HistoryVisibility, member::MembershipState},
};
use storage::{Connection, Error, StoredEvent, events};
use types::{RoomNid, StreamPosition};

/// Stands before everything that has a position.
const BEGINNING: StreamPosition = StreamPosition(i64::MIN);

/// One user's sight of one room, along the order of the stream.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    memberships: History<MembershipState>,
    visibilities: History<HistoryVisibility>,
}

/// The values of one state key, each with the position from which it holds, oldest first.
#[derive(Clone, Debug)]
struct History<T>(Vec<(StreamPosition, T)>);

impl<T> Default for History<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> History<T> {
    /// Reads each event's value; the oldest one tells what held before it, too.
    fn new(events: &[&StoredEvent], value: impl Fn(&Pdu) -> Option<T>) -> Self {
        let mut history = Vec::with_capacity(events.len() + 1);
        if let Some(first) = events.first()
            && let Some(replaced) = &first.replaces
        {
            history.extend(value(&replaced.pdu).map(|value| (BEGINNING, value)));
        }
        for event in events {
            // What has no position was there when this server came to know the room.
            let from = match event.position {
                StreamPosition(0) => BEGINNING,
                position => position,
            };
            history.extend(value(&event.pdu).map(|value| (from, value)));
        }
        Self(history)
    }

    fn before(&self, position: StreamPosition) -> Option<&T> {
        self.0
            .iter()
            .rev()
            .find(|(from, _)| *from < position)
            .map(|(_, value)| value)
    }

    fn at(&self, position: StreamPosition) -> Option<&T> {
        self.0
            .iter()
            .rev()
            .find(|(from, _)| *from <= position)
            .map(|(_, value)| value)
    }
}

impl Sight {
    /// A user's sight of one room; two queries.
    pub async fn of(
        db: &mut Connection,
        room_nid: RoomNid,
        user_id: &UserId,
    ) -> Result<Self, Error> {
        let mut rooms = Self::of_rooms(db, &[room_nid], user_id).await?;
        Ok(rooms.remove(&room_nid).unwrap_or_default())
    }

    /// A user's sight of each of the rooms; two queries for all of them.
    pub async fn of_rooms(
        db: &mut Connection,
        room_nids: &[RoomNid],
        user_id: &UserId,
    ) -> Result<HashMap<RoomNid, Self>, Error> {
        let members =
            events::state_history(db, room_nids, "m.room.member", user_id.as_str()).await?;
        let settings =
            events::state_history(db, room_nids, "m.room.history_visibility", "").await?;
        let (members, settings) = (by_room(&members), by_room(&settings));
        let sight = |room_nid: &RoomNid| {
            let of = |events: &HashMap<RoomNid, Vec<_>>| {
                events.get(room_nid).cloned().unwrap_or_default()
            };
            Self::from_history(&of(&members), &of(&settings))
        };
        Ok(room_nids
            .iter()
            .map(|room_nid| (*room_nid, sight(room_nid)))
            .collect())
    }

    /// A user's sight of a room's last events: those of the user's membership and of the room's
    /// setting among them, oldest first, and what is current. Right for these events only.
    pub(crate) fn recent(
        (members, member): (&[&StoredEvent], Option<&Pdu>),
        (settings, setting_now): (&[&StoredEvent], Option<&Pdu>),
    ) -> Self {
        let mut sight = Self::from_history(members, settings);
        // Without a change among the events, what is current held all the time.
        if members.is_empty() {
            sight
                .memberships
                .0
                .extend(member.and_then(Pdu::membership).map(|now| (BEGINNING, now)));
        }
        if settings.is_empty() {
            sight.visibilities.0.extend(
                setting_now
                    .and_then(history_visibility)
                    .map(|now| (BEGINNING, now)),
            );
        }
        sight
    }

    /// The sight that the events of the user's membership and of the room's setting make.
    fn from_history(members: &[&StoredEvent], settings: &[&StoredEvent]) -> Self {
        Self {
            memberships: History::new(members, Pdu::membership),
            visibilities: History::new(settings, history_visibility),
        }
    }

    /// Whether the user may see an event of the room.
    pub fn may_see(&self, event: &StoredEvent) -> bool {
        let position = event.position;
        let joined_since =
            self.memberships.0.iter().any(|(from, membership)| {
                *from >= position && *membership == MembershipState::Join
            });
        let allows = |visibility: Option<&HistoryVisibility>, membership| {
            visibility::VisibilityContext {
                visibility: visibility.cloned().unwrap_or(HistoryVisibility::Shared),
                membership,
            }
            .allows(joined_since)
        };
        let before = self
            .memberships
            .before(position)
            .cloned()
            .unwrap_or(MembershipState::Leave);
        let after = self.membership(position);
        let visibility_before = self.visibilities.before(position);
        let visibility_after = self.visibilities.at(position);
        // An event that changes the setting or the membership is seen if either side allows it.
        allows(visibility_before, before.clone())
            || allows(visibility_before, after.clone())
            || allows(visibility_after, before)
    }

    /// Whether the user was ever joined.
    pub fn was_member(&self) -> bool {
        self.memberships
            .0
            .iter()
            .any(|(_, membership)| *membership == MembershipState::Join)
    }

    /// The user's membership at a position, the event there included; `leave` for one who had
    /// nothing to do with the room yet.
    pub fn membership(&self, position: StreamPosition) -> MembershipState {
        self.memberships
            .at(position)
            .cloned()
            .unwrap_or(MembershipState::Leave)
    }

    /// Whether the user was joined at any time up to a position.
    pub fn was_joined(&self, until: StreamPosition) -> bool {
        let mut known = self.memberships.0.iter();
        known.any(|(from, membership)| *from <= until && *membership == MembershipState::Join)
    }

    /// [`membership`](Self::membership) as `unsigned.membership` writes it.
    pub fn membership_at(&self, position: StreamPosition) -> &str {
        self.memberships
            .at(position)
            .map_or("leave", MembershipState::as_str)
    }
}

fn by_room(events: &[StoredEvent]) -> HashMap<RoomNid, Vec<&StoredEvent>> {
    let mut rooms: HashMap<RoomNid, Vec<_>> = HashMap::new();
    for event in events {
        rooms.entry(event.room_nid).or_default().push(event);
    }
    rooms
}
