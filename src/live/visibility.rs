//! What a user may see of a room's history, and the user's membership at each event.
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

/// Before all positions.
const BEGINNING: StreamPosition = StreamPosition(i64::MIN);

/// What one user may see of one room's history (Spec: client-server, "Room history visibility").
#[derive(Clone, Debug, Default)]
pub struct UserVisibility {
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

impl UserVisibility {
    /// Loads the visibility of one room for a user: two queries.
    pub async fn load(
        db: &mut Connection,
        room_nid: RoomNid,
        user_id: &UserId,
    ) -> Result<Self, Error> {
        let mut rooms = Self::load_for_rooms(db, &[room_nid], user_id).await?;
        Ok(rooms.remove(&room_nid).unwrap_or_default())
    }

    /// Loads the visibility of each of the rooms for a user: two queries for all of them.
    pub async fn load_for_rooms(
        db: &mut Connection,
        room_nids: &[RoomNid],
        user_id: &UserId,
    ) -> Result<HashMap<RoomNid, Self>, Error> {
        let member_events =
            events::state_history(db, room_nids, "m.room.member", user_id.as_str()).await?;
        let visibility_events =
            events::state_history(db, room_nids, "m.room.history_visibility", "").await?;
        let (member_events, visibility_events) =
            (by_room(&member_events), by_room(&visibility_events));
        let user_visibility = |room_nid: &RoomNid| {
            let of = |events: &HashMap<RoomNid, Vec<_>>| {
                events.get(room_nid).cloned().unwrap_or_default()
            };
            Self::from_history(&of(&member_events), &of(&visibility_events))
        };
        Ok(room_nids
            .iter()
            .map(|room_nid| (*room_nid, user_visibility(room_nid)))
            .collect())
    }

    /// The visibility of a room's cached timeline: from the user's member events and the history
    /// visibility events in it, oldest first, and the current ones. Valid for these events only.
    pub(crate) fn from_timeline(
        (member_events, current_member): (&[&StoredEvent], Option<&Pdu>),
        (visibility_events, current_visibility): (&[&StoredEvent], Option<&Pdu>),
    ) -> Self {
        let mut user_visibility = Self::from_history(member_events, visibility_events);
        // Without a change among the events, what is current held all the time.
        if member_events.is_empty() {
            user_visibility.memberships.0.extend(
                current_member
                    .and_then(Pdu::membership)
                    .map(|now| (BEGINNING, now)),
            );
        }
        if visibility_events.is_empty() {
            user_visibility.visibilities.0.extend(
                current_visibility
                    .and_then(history_visibility)
                    .map(|now| (BEGINNING, now)),
            );
        }
        user_visibility
    }

    /// From all member events of the user and all history visibility events.
    fn from_history(member_events: &[&StoredEvent], visibility_events: &[&StoredEvent]) -> Self {
        Self {
            memberships: History::new(member_events, Pdu::membership),
            visibilities: History::new(visibility_events, history_visibility),
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

    /// Whether the user was joined at any time.
    pub fn was_member(&self) -> bool {
        self.memberships
            .0
            .iter()
            .any(|(_, membership)| *membership == MembershipState::Join)
    }

    /// The user's membership at a position, including the event there; `leave` if there was none.
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
