//! Rooms that the members of other rooms may join.
//!
//! Spec: client-server, "Restricted rooms"; rooms v8, "Authorisation rules".

use event::{JoinRules, PowerLevels};
use ruma::{OwnedRoomId, OwnedUserId, UserId, events::room::member::MembershipState};

use crate::head::Head;

/// The rooms whose members may join; none when the user needs no membership elsewhere, or when
/// the room is not restricted.
pub(super) fn allowed_rooms(head: &Head, user_id: &UserId) -> Option<Vec<OwnedRoomId>> {
    if !head.version.restricted_joins()
        || matches!(
            head.state.membership(user_id),
            MembershipState::Join | MembershipState::Invite
        )
    {
        return None;
    }
    let rules = JoinRules::of(head.state.core());
    rules.is_restricted().then(|| rules.allowed_rooms())
}

/// A member of this server who may invite, and so vouch for another.
pub(super) fn authoriser(head: &Head, is_local: impl Fn(&UserId) -> bool) -> Option<OwnedUserId> {
    let levels = PowerLevels::of(head.state.core(), &head.version);
    let members = head.state.members().iter();
    members
        .filter(|(_, member)| member.membership() == MembershipState::Join)
        .filter_map(|(user_id, _)| OwnedUserId::try_from(user_id).ok())
        .find(|user_id| is_local(user_id) && levels.user(user_id) >= levels.invite())
}
