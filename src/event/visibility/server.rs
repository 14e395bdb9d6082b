//! History visibility for servers: which events another server may see.
//!
//! Spec: server-server, "Backfilling and retrieving missing events"; client-server, "Room history
//! visibility". A server sees what any one of its users may see. Called when other servers ask for
//! events.

use std::borrow::Cow;

use ruma::{
    ServerName, UserId,
    events::room::{history_visibility::HistoryVisibility, member::MembershipState},
};

use super::{VisibilityContext, may_see, visibility};
use crate::{FormatError, Pdu, RoomVersion, State, redact};

impl VisibilityContext {
    /// The context of a server in a state of the room.
    ///
    /// Visits all members; [`VisibilityContext::of_memberships`] takes what is known already.
    pub fn of_server(state: &State, server_name: &ServerName) -> Self {
        let is_of_server = |event: &Pdu| {
            let user_id = event.state_key().map(<&UserId>::try_from);
            user_id.is_some_and(|id| id.is_ok_and(|id| id.server_name() == server_name))
        };
        let members = state.of_type("m.room.member");
        let members = members.filter(|event| is_of_server(event));
        Self::of_memberships(
            visibility(state),
            members.filter_map(|event| event.membership()),
        )
    }

    /// The context of a server whose users have these memberships: the one that shows most.
    pub fn of_memberships(
        visibility: HistoryVisibility,
        memberships: impl IntoIterator<Item = MembershipState>,
    ) -> Self {
        let rank = |membership: &MembershipState| match membership {
            MembershipState::Join => 2,
            MembershipState::Invite => 1,
            _ => 0,
        };
        let most = memberships.into_iter().max_by_key(rank);
        Self {
            visibility,
            membership: most.unwrap_or(MembershipState::Leave),
        }
    }
}

/// An event as another server may see it: as it is, or redacted.
///
/// The contexts are the server's in the state before and after the event. `joined_since` says whether
/// one of its users was a member at any time after the event. The graph must stay whole, so that no
/// event is left out; a server that is not in the room gets none at all, which is for the caller to
/// check.
pub fn for_server<'a>(
    version: &RoomVersion,
    event: &'a Pdu,
    before: &VisibilityContext,
    after: &VisibilityContext,
    joined_since: bool,
) -> Result<Cow<'a, Pdu>, FormatError> {
    if may_see(before, after, joined_since) {
        Ok(Cow::Borrowed(event))
    } else {
        redact(version, event).map(Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use HistoryVisibility::{Invited, Joined, Shared, WorldReadable};
    use MembershipState::{Ban, Invite, Join, Knock, Leave};
    use serde_json::json;

    use super::*;
    use crate::fixture::{ALICE, BOB, Room};

    const DORA: &str = "@dora:elsewhere.org";
    const EVE: &str = "@eve:elsewhere.org";

    fn elsewhere(room: &Room) -> VisibilityContext {
        VisibilityContext::of_server(&room.state, "elsewhere.org".try_into().unwrap())
    }

    #[test]
    fn a_server_sees_what_one_of_its_users_sees() {
        for (memberships, expected) in [
            (vec![], Leave),
            (vec![Leave, Invite, Ban], Invite),
            (vec![Join, Invite, Leave], Join),
            (vec![Leave, Join], Join),
        ] {
            let context = VisibilityContext::of_memberships(Shared, memberships);
            assert_eq!(context.membership, expected);
        }
        for (visibility, memberships, since, expected) in [
            (WorldReadable, vec![], false, true),
            (Shared, vec![], false, false),
            (Shared, vec![], true, true),
            (Invited, vec![Leave, Invite], false, true),
            (Invited, vec![Leave, Knock], true, false),
            (Joined, vec![Invite], true, false),
            (Joined, vec![Ban, Join], false, true),
        ] {
            let context = VisibilityContext::of_memberships(visibility, memberships);
            assert_eq!(context.allows(since), expected, "{context:?}");
        }
    }

    #[test]
    fn only_users_of_the_server_count() {
        let mut room = Room::new("11");
        room.join(BOB).unwrap();
        assert_eq!(elsewhere(&room).membership, Leave);
        room.member(ALICE, DORA, "invite").unwrap();
        assert_eq!(elsewhere(&room).membership, Invite);
        room.join(EVE).unwrap();
        assert_eq!(elsewhere(&room).membership, Join);
        assert_eq!(elsewhere(&room).visibility, Shared);
    }

    #[test]
    fn what_a_server_may_not_see_is_redacted() {
        let mut room = Room::new("11");
        let joined = json!({"history_visibility": "joined"});
        room.set(ALICE, "m.room.history_visibility", "", joined)
            .unwrap();
        let context = elsewhere(&room);
        let secret = room.message(ALICE).unwrap();
        let seen = for_server(&room.version, &secret, &context, &context, true).unwrap();
        assert_eq!(seen.content_text(), "{}");
        assert_eq!(seen.event_id(), secret.event_id());
        assert_eq!(seen.prev_events(), secret.prev_events());
        let before = elsewhere(&room);
        let join = room.join(DORA).unwrap();
        let after = elsewhere(&room);
        let seen = for_server(&room.version, &join, &before, &after, true).unwrap();
        assert_eq!(seen.json(), join.json());
        let open = room.message(ALICE).unwrap();
        let seen = for_server(&room.version, &open, &after, &after, false).unwrap();
        assert_eq!(seen.json(), open.json());
    }
}
