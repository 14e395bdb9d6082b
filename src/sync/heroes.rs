//! The room summary: member counts, and heroes if the room has no name.
//!
//! Spec: client-server, `GET /sync`, "RoomSummary".

use event::{State, view::push_json_string};
use live::Room;
use ruma::UserId;
use serde::Deserialize;

use crate::response::{push_field, push_list};

/// The heroes for the summary; `None` if the room has a name.
pub(crate) fn for_summary<'a>(room: &'a Room, reader: &UserId) -> Option<Vec<&'a UserId>> {
    (!is_named(room.state())).then(|| room.heroes().for_reader(reader))
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
    let counts = room.member_counts();
    push_field(out, "m.joined_member_count");
    out.push_str(&counts.joined.to_string());
    push_field(out, "m.invited_member_count");
    out.push_str(&counts.invited.to_string());
    out.push('}');
}

fn is_named(state: &State) -> bool {
    #[derive(Deserialize)]
    struct Content {
        name: Option<String>,
        alias: Option<String>,
    }
    let is_set = |event_type: &str| {
        state
            .get(event_type, "")
            .and_then(|pdu| pdu.content_as::<Content>().ok())
            .and_then(|content| content.name.or(content.alias))
            .is_some_and(|name| !name.is_empty())
    };
    is_set("m.room.name") || is_set("m.room.canonical_alias")
}
