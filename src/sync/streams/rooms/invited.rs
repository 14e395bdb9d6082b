//! Rooms that the user is not in yet, as far as they may be shown.
//!
//! Spec: client-server, "Stripped state".

use event::view;
use live::Room;
use storage::memberships::Membership;

use crate::{answer::push_events, v3::Ask};

/// What an invitation or a knock shows of a room, beside the member event.
const SHOWN: [&str; 7] = [
    "m.room.create",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.name",
    "m.room.topic",
    "m.room.encryption",
];

/// An invitation, if it is new and from nobody whom the user ignores.
pub(crate) fn invite(ask: &Ask<'_>, room: &Room, membership: &Membership) -> Option<String> {
    let user = &ask.look.user;
    let member = room.state().get("m.room.member", user.user_id().as_str());
    if member.is_some_and(|member| user.ignores(member.sender())) {
        return None;
    }
    stripped(ask, room, membership, "invite_state")
}

/// A knock, if it is new.
pub(crate) fn knock(ask: &Ask<'_>, room: &Room, membership: &Membership) -> Option<String> {
    stripped(ask, room, membership, "knock_state")
}

fn stripped(ask: &Ask<'_>, room: &Room, membership: &Membership, field: &str) -> Option<String> {
    if ask
        .since_stream()
        .is_some_and(|since| membership.position <= since)
        && !ask.request.full_state
    {
        return None;
    }
    let state = room.state();
    let shown = SHOWN.iter().filter_map(|kind| state.get(kind, ""));
    let member = state.get("m.room.member", ask.request.user_id.as_str());
    let inviter = member.and_then(|member| state.get("m.room.member", member.sender().as_str()));
    let inviter = inviter
        .filter(|inviter| member.is_none_or(|member| member.event_id() != inviter.event_id()));
    let mut out = format!("{{\"{field}\":");
    push_events(&mut out, shown.chain(inviter).chain(member), |out, pdu| {
        view::stripped(pdu, out);
    });
    out.push('}');
    Some(out)
}
