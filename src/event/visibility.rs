//! Which events of a room's past a user may see.
//!
//! Spec: client-server, "Room history visibility".

use ruma::{
    UserId,
    events::room::{history_visibility::HistoryVisibility, member::MembershipState},
};
use serde::Deserialize;

use crate::{Pdu, State};

/// What decides about one user's sight at one point of the room's graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The room's setting.
    pub visibility: HistoryVisibility,
    /// The user's membership.
    pub membership: MembershipState,
}

impl Sight {
    /// The sight of a user in a state of the room.
    pub fn of(state: &State, user_id: &UserId) -> Self {
        Self {
            visibility: visibility(state),
            membership: state.membership(user_id),
        }
    }

    /// Whether an event sent at this point may be seen.
    ///
    /// `joined_since` says whether the user was a member at any time after the event.
    pub fn allows(&self, joined_since: bool) -> bool {
        match (&self.visibility, &self.membership) {
            (HistoryVisibility::WorldReadable, _) | (_, MembershipState::Join) => true,
            (HistoryVisibility::Invited, membership) => *membership == MembershipState::Invite,
            (HistoryVisibility::Joined, _) => false,
            // Shared, and whatever is not understood.
            _ => joined_since,
        }
    }
}

/// Whether a user may see an event.
///
/// `before` is the user's sight in the state before the event; `joined_since` says whether the
/// user was a member at any time after it.
pub fn may_see(event: &Pdu, user_id: &UserId, before: &Sight, joined_since: bool) -> bool {
    before.allows(joined_since)
        || after(event, user_id, before).is_some_and(|after| after.allows(joined_since))
}

/// The room's setting in a state: `Shared` if there is none or it is not understood.
pub fn visibility(state: &State) -> HistoryVisibility {
    state
        .get("m.room.history_visibility", "")
        .and_then(|event| setting(event))
        .unwrap_or(HistoryVisibility::Shared)
}

/// The sight after an event, if the event changes it.
fn after(event: &Pdu, user_id: &UserId, before: &Sight) -> Option<Sight> {
    match (event.kind(), event.state_key()?) {
        ("m.room.history_visibility", "") => Some(Sight {
            visibility: setting(event).unwrap_or(HistoryVisibility::Shared),
            ..before.clone()
        }),
        ("m.room.member", member) if member == user_id.as_str() => Some(Sight {
            membership: event.membership()?,
            ..before.clone()
        }),
        _ => None,
    }
}

/// What a state event sets, if it is understood.
pub fn setting(event: &Pdu) -> Option<HistoryVisibility> {
    #[derive(Deserialize)]
    struct Content {
        history_visibility: HistoryVisibility,
    }
    event
        .content_as::<Content>()
        .ok()
        .map(|content| content.history_visibility)
}

#[cfg(test)]
mod tests;
