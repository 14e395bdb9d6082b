//! What a user may see of a room's history, and the user's membership at each event.
//!
//! Spec: client-server, "Room history visibility".

use std::collections::HashMap;

use event::{
    Pdu,
    visibility::{self, VisibilityContext, history_visibility},
};
use ruma::{
    OwnedUserId, UserId,
    events::room::{history_visibility::HistoryVisibility, member::MembershipState},
};
use storage::{Connection, Error, StoredEvent, events, stream::StateChange};
use types::{EventNid, HistoryOrder, RoomNid, SnapshotNid, StreamPosition};

/// What the states before and after events say of a user.
type Contexts = HashMap<EventNid, [VisibilityContext; 2]>;

/// What one user may see of one room's history (Spec: client-server, "Room history visibility").
#[derive(Clone, Debug, Default)]
pub struct UserVisibility {
    user_id: Option<OwnedUserId>,
    memberships: History<MembershipState>,
    visibilities: History<HistoryVisibility>,
    last_leave: Option<LastLeave>,
    /// What the states before and after events say, where they were looked up.
    contexts: Option<Box<Contexts>>,
}

/// The end of a user's last stay in a room: a former member sees the room's state as of then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastLeave {
    /// The position of the event that ended the stay, if `/sync` returns it.
    pub position: Option<StreamPosition>,
    /// The state after it.
    pub snapshot_nid: Option<SnapshotNid>,
}

impl LastLeave {
    /// Finds it in all member events of a user, oldest first. `None` for a user who is joined, or
    /// who never was: one who was only invited, or was banned from outside, has seen nothing.
    pub fn find<'e>(
        history: impl DoubleEndedIterator<Item = &'e StoredEvent>,
    ) -> Option<(Self, &'e StoredEvent)> {
        let mut after_stay = None;
        for event in history.rev() {
            if event.pdu.membership() == Some(MembershipState::Join) {
                return after_stay;
            }
            let leave = Self {
                position: event.position,
                snapshot_nid: event.snapshot_nid,
            };
            after_stay = Some((leave, event));
        }
        None
    }
}

/// The values of one state key, each with the place from which it holds, oldest first; none is
/// before the whole history.
#[derive(Clone, Debug)]
struct History<T>(Vec<(Option<HistoryOrder>, T)>);

impl<T> Default for History<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> History<T> {
    /// Reads the value of each change; the oldest one names the value before it, too.
    fn of_changes(
        changes: &[(HistoryOrder, &StateChange)],
        value: impl Fn(&Pdu) -> Option<T>,
        absent: &T,
    ) -> Self
    where
        T: Clone,
    {
        let mut history = Vec::with_capacity(changes.len() + 1);
        let before = changes.first().and_then(|(_, first)| first.from.as_ref());
        history.extend(before.and_then(|from| Some((None, value(&from.pdu)?))));
        for (order, change) in changes {
            let value = match &change.to {
                Some(to) => value(&to.pdu),
                None => Some(absent.clone()),
            };
            history.extend(value.map(|value| (Some(*order), value)));
        }
        Self(history)
    }

    /// Reads each event's value; the oldest one names the value before it, too.
    fn new(events: &[&StoredEvent], value: impl Fn(&Pdu) -> Option<T>) -> Self {
        let mut history = Vec::with_capacity(events.len() + 1);
        if let Some(first) = events.first()
            && let Some(replaced) = &first.replaces
        {
            history.extend(value(&replaced.pdu).map(|value| (None, value)));
        }
        for event in events {
            // An outlier was current when this server came to know the room.
            let from = event.history_order;
            history.extend(value(&event.pdu).map(|value| (from, value)));
        }
        Self(history)
    }

    fn before(&self, order: Option<HistoryOrder>) -> Option<&T> {
        self.0
            .iter()
            .rev()
            .find(|(from, _)| *from < order)
            .map(|(_, value)| value)
    }

    fn at(&self, order: Option<HistoryOrder>) -> Option<&T> {
        self.0
            .iter()
            .rev()
            .find(|(from, _)| *from <= order)
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
        let key = ("m.room.member", user_id.as_str());
        let member_events = events::current_state_history(db, room_nids, key.0, key.1).await?;
        let key = ("m.room.history_visibility", "");
        let visibility_events = events::current_state_history(db, room_nids, key.0, key.1).await?;
        let (member_events, visibility_events) =
            (by_room(&member_events), by_room(&visibility_events));
        let user_visibility = |room_nid: &RoomNid| {
            let of = |events: &HashMap<RoomNid, Vec<_>>| {
                events.get(room_nid).cloned().unwrap_or_default()
            };
            Self::from_history(user_id, &of(&member_events), &of(&visibility_events))
        };
        Ok(room_nids
            .iter()
            .map(|room_nid| (*room_nid, user_visibility(room_nid)))
            .collect())
    }

    /// The visibility of a room's cached timeline for a user who is joined: from what changed in it of
    /// the user's membership and of the history visibility, oldest first, and what they are now. Valid
    /// for this timeline only.
    pub(crate) fn from_changes(
        user_id: &UserId,
        (member_changes, current_member): (
            &[(HistoryOrder, &StateChange)],
            Option<MembershipState>,
        ),
        (visibility_changes, current_visibility): (&[(HistoryOrder, &StateChange)], Option<&Pdu>),
    ) -> Self {
        let (leave, shared) = (MembershipState::Leave, HistoryVisibility::Shared);
        let mut memberships = History::of_changes(member_changes, Pdu::membership, &leave);
        let mut visibilities = History::of_changes(visibility_changes, history_visibility, &shared);
        // Without a change, what is current held all the time.
        if member_changes.is_empty() {
            memberships.0.extend(current_member.map(|now| (None, now)));
        }
        if visibility_changes.is_empty() {
            let now = current_visibility.and_then(history_visibility);
            visibilities.0.extend(now.map(|now| (None, now)));
        }
        Self {
            user_id: Some(user_id.to_owned()),
            last_leave: None,
            memberships,
            visibilities,
            contexts: None,
        }
    }

    /// From all member events of the user and all history visibility events.
    fn from_history(
        user_id: &UserId,
        member_events: &[&StoredEvent],
        visibility_events: &[&StoredEvent],
    ) -> Self {
        let last_leave = LastLeave::find(member_events.iter().copied());
        Self {
            user_id: Some(user_id.to_owned()),
            last_leave: last_leave.map(|(leave, _)| leave),
            memberships: History::new(member_events, Pdu::membership),
            visibilities: History::new(visibility_events, history_visibility),
            contexts: None,
        }
    }

    /// Notes what the states before and after an event say. Where the history has gaps or branches, it
    /// cannot be told from the place of the event.
    pub fn set_contexts(&mut self, event: EventNid, contexts: [VisibilityContext; 2]) {
        let known = self.contexts.get_or_insert_default();
        known.insert(event, contexts);
    }

    /// Whether the user may see an event of the room. A user's own member events are always visible:
    /// `/sync` returns them.
    pub fn may_see(&self, event: &StoredEvent) -> bool {
        self.is_own_membership(event) || self.is_visible(event)
    }

    /// Whether it is a member event of the user.
    pub fn is_own_membership(&self, event: &StoredEvent) -> bool {
        let user_id = self.user_id.as_ref().map(|user_id| user_id.as_str());
        event.pdu.event_type() == "m.room.member" && event.pdu.state_key() == user_id
    }

    /// The state that the user may see with an event: the one after it, or the one at the end of the
    /// last stay with an own member event that came later.
    pub fn snapshot_with(&self, event: &StoredEvent) -> Option<SnapshotNid> {
        if self.is_visible(event) {
            event.snapshot_nid
        } else {
            self.last_leave?.snapshot_nid
        }
    }

    /// The end of the last stay of a former member.
    pub fn last_leave(&self) -> Option<LastLeave> {
        self.last_leave
    }

    fn is_visible(&self, event: &StoredEvent) -> bool {
        self.is_visible_at(event.nid, event.history_order)
    }

    /// Whether the user may see an event at a place. (Spec: client-server, "Room history visibility".)
    pub fn is_visible_at(&self, event: EventNid, order: Option<HistoryOrder>) -> bool {
        let joined_since = self
            .memberships
            .0
            .iter()
            .any(|(from, membership)| *from >= order && *membership == MembershipState::Join);
        let context =
            |visibility: Option<&HistoryVisibility>, membership: Option<&_>| VisibilityContext {
                visibility: visibility.cloned().unwrap_or(HistoryVisibility::Shared),
                membership: membership.cloned().unwrap_or(MembershipState::Leave),
            };
        let looked_up = self.contexts.as_ref();
        if let Some([before, after]) = looked_up.and_then(|known| known.get(&event)) {
            return visibility::may_see(before, after, joined_since);
        }
        let (visibilities, memberships) = (&self.visibilities, &self.memberships);
        visibility::may_see(
            &context(visibilities.before(order), memberships.before(order)),
            &context(visibilities.at(order), memberships.at(order)),
            joined_since,
        )
    }

    /// Whether the user was joined at any time.
    pub fn was_member(&self) -> bool {
        self.memberships
            .0
            .iter()
            .any(|(_, membership)| *membership == MembershipState::Join)
    }

    /// The user's membership at a place, including the event there; `leave` if there was none.
    pub fn membership(&self, order: Option<HistoryOrder>) -> MembershipState {
        self.memberships
            .at(order)
            .cloned()
            .unwrap_or(MembershipState::Leave)
    }

    /// Whether the user was joined at any time up to a place.
    pub fn was_joined(&self, until: HistoryOrder) -> bool {
        let mut known = self.memberships.0.iter();
        known.any(|(from, membership)| *from <= Some(until) && *membership == MembershipState::Join)
    }

    /// [`membership`](Self::membership) as `unsigned.membership` writes it.
    pub fn membership_at(&self, order: Option<HistoryOrder>) -> &str {
        self.memberships
            .at(order)
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
