//! Invited and knocked rooms, with stripped state.
//!
//! Spec: client-server, "Stripped state".

use event::view::STRIPPED_STATE_TYPES;
use ruma::events::room::member::MembershipState;

use crate::{
    context::SyncContext,
    query::RoomRequest,
    updates::{RoomChange, RoomUpdate, StrippedState},
};

/// An invitation or a knock, if it is new, and the user wants to be told of it.
pub(super) fn update<'a>(
    context: &SyncContext<'a>,
    request: &RoomRequest<'a>,
) -> Option<RoomUpdate<'a>> {
    let membership = request.membership;
    if request
        .query
        .since
        .is_some_and(|since| membership.position <= since)
    {
        return None;
    }
    let change = match membership.membership {
        MembershipState::Invite => {
            let user = &context.view.user;
            let member = context.view.member(request.room, context.user_id);
            if member.is_some_and(|member| user.hides_invites_by(member.sender())) {
                return None;
            }
            RoomChange::Invited(stripped_state(context, request))
        }
        MembershipState::Knock => RoomChange::Knocked(stripped_state(context, request)),
        _ => return None,
    };
    Some(RoomUpdate {
        room_nid: membership.room_nid,
        room_id: &membership.room_id,
        change,
    })
}

fn stripped_state<'a>(context: &SyncContext<'a>, request: &RoomRequest<'a>) -> StrippedState<'a> {
    let (room, view) = (request.room, context.view);
    let state = room.state().core();
    let shown = STRIPPED_STATE_TYPES
        .iter()
        .filter_map(|event_type| state.get(event_type, ""));
    let member = view.member(room, context.user_id);
    let inviter = member.and_then(|member| view.member(room, member.sender()));
    let inviter = inviter
        .filter(|inviter| member.is_none_or(|member| member.event_id() != inviter.event_id()));
    StrippedState(shown.chain(inviter).chain(member).collect())
}
