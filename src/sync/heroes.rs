//! The room summary: how many members, and who gives the room a name when it has none.
//!
//! Spec: client-server, `GET /sync`, "RoomSummary".

use event::{State, view::push_json_string};
use live::Room;
use ruma::UserId;
use serde::Deserialize;

use crate::answer::{push_field, push_list};

/// The heroes whom the reader is told of; none when the room has a name.
pub(crate) fn shown<'a>(room: &'a Room, reader: &UserId) -> Option<Vec<&'a UserId>> {
    (!is_named(room.state())).then(|| room.heroes().seen_by(reader))
}

/// Appends the summary as an object.
pub(crate) fn write(out: &mut String, room: &Room, heroes: Option<&[&UserId]>) {
    out.push('{');
    if let Some(heroes) = heroes {
        push_field(out, "m.heroes");
        out.push('[');
        push_list(out, heroes, |out, user_id| {
            push_json_string(out, user_id.as_str());
        });
        out.push(']');
    }
    let members = room.members();
    push_field(out, "m.joined_member_count");
    out.push_str(&members.joined.to_string());
    push_field(out, "m.invited_member_count");
    out.push_str(&members.invited.to_string());
    out.push('}');
}

fn is_named(state: &State) -> bool {
    #[derive(Deserialize)]
    struct Content {
        name: Option<String>,
        alias: Option<String>,
    }
    let is_set = |kind: &str| {
        state
            .get(kind, "")
            .and_then(|pdu| pdu.content_as::<Content>().ok())
            .and_then(|content| content.name.or(content.alias))
            .is_some_and(|name| !name.is_empty())
    };
    is_set("m.room.name") || is_set("m.room.canonical_alias")
}
