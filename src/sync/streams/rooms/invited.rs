//! Invited and knocked rooms, with stripped state.
//!
//! Spec: client-server, "Stripped state".

use event::{ClientEvent, view};
use live::Room;
use storage::memberships::Membership;

use crate::{context::SyncContext, response::push_events};

/// The state in stripped state, besides member events.
const SHOWN: [&str; 7] = [
    "m.room.create",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.name",
    "m.room.topic",
    "m.room.encryption",
];

/// An invitation, if it is new and its sender is not ignored.
pub(crate) fn invite(
    context: &SyncContext<'_>,
    room: &Room,
    membership: &Membership,
) -> Option<String> {
    let user = &context.view.user;
    let member = room.state().get("m.room.member", user.user_id().as_str());
    if member.is_some_and(|member| user.ignores(member.sender())) {
        return None;
    }
    stripped(context, room, membership, "invite_state")
}

/// A knock, if it is new.
pub(crate) fn knock(
    context: &SyncContext<'_>,
    room: &Room,
    membership: &Membership,
) -> Option<String> {
    stripped(context, room, membership, "knock_state")
}

fn stripped(
    context: &SyncContext<'_>,
    room: &Room,
    membership: &Membership,
    field: &str,
) -> Option<String> {
    if context
        .since_stream()
        .is_some_and(|since| membership.position <= since)
        && !context.request.full_state
    {
        return None;
    }
    let state = room.state();
    let shown = SHOWN
        .iter()
        .filter_map(|event_type| state.get(event_type, ""));
    let member = state.get("m.room.member", context.request.user_id.as_str());
    let inviter = member.and_then(|member| state.get("m.room.member", member.sender().as_str()));
    let inviter = inviter
        .filter(|inviter| member.is_none_or(|member| member.event_id() != inviter.event_id()));
    let mut out = format!("{{\"{field}\":");
    push_events(&mut out, shown.chain(inviter).chain(member), |out, pdu| {
        // MSC4311: the create event is whole, so that clients can check it.
        if pdu.event_type() == "m.room.create" {
            ClientEvent::of(pdu).write(out);
        } else {
            view::stripped(pdu, out);
        }
    });
    out.push('}');
    Some(out)
}
