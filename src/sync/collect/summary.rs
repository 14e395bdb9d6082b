//! The room summary.

use event::State;
use live::Room;
use ruma::UserId;
use serde::Deserialize;
use storage::stream::StateChange;

use crate::updates::Summary;

/// Member counts, and heroes if the room has no name.
///
/// Spec: client-server, `GET /sync`, "RoomSummary".
pub(super) fn summary<'a>(room: &'a Room, reader: &UserId) -> Summary<'a> {
    Summary {
        heroes: (!is_named(room.state().core())).then(|| room.heroes().for_reader(reader)),
        counts: room.member_counts(),
    }
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

/// Whether a change of state may change the summary.
pub(super) fn affects_summary(change: &StateChange) -> bool {
    matches!(
        change.event().map_or("", |event| event.event_type()),
        "m.room.member" | "m.room.name" | "m.room.canonical_alias"
    )
}
