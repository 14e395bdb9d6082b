//! History visibility: which events a user may see.
//!
//! Spec: client-server, "Room history visibility".

use ruma::{
    UserId,
    events::room::{history_visibility::HistoryVisibility, member::MembershipState},
};
use serde::Deserialize;

use crate::{Pdu, State};

mod server;

pub use server::for_server;

/// What determines whether a user may see an event at one point of the room's graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisibilityContext {
    /// The room's history visibility.
    pub visibility: HistoryVisibility,
    /// The user's membership.
    pub membership: MembershipState,
}

impl VisibilityContext {
    /// The context of a user in a state of the room.
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

/// Whether a user may see an event: if the state before it or the state after it allows that.
///
/// The contexts are the user's in these states; they differ only for an event that changes the
/// history visibility or the user's membership. `joined_since` says whether the user was a member at
/// any time after the event.
pub fn may_see(before: &VisibilityContext, after: &VisibilityContext, joined_since: bool) -> bool {
    before.allows(joined_since) || after.allows(joined_since)
}

/// The history visibility in a state: `Shared` if there is none or it is not understood.
pub fn visibility(state: &State) -> HistoryVisibility {
    state
        .get("m.room.history_visibility", "")
        .and_then(|event| history_visibility(event))
        .unwrap_or(HistoryVisibility::Shared)
}

/// The value that a state event sets, if it is understood.
pub fn history_visibility(event: &Pdu) -> Option<HistoryVisibility> {
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
