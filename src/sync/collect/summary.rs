//! The room summary.

use live::Room;
use ruma::UserId;
use storage::stream::StateChange;

use crate::updates::Summary;

/// Member counts, and heroes if the room has no name.
///
/// Spec: client-server, `GET /sync`, "RoomSummary".
pub(super) fn summary<'a>(room: &'a Room, reader: &UserId) -> Summary<'a> {
    Summary {
        heroes: (!room.state().is_named()).then(|| room.heroes().for_reader(reader)),
        counts: room.member_counts(),
    }
}

/// Whether a change of state may change the summary.
pub(super) fn affects_summary(change: &StateChange) -> bool {
    matches!(
        change.event().map_or("", |event| event.event_type()),
        "m.room.member" | "m.room.name" | "m.room.canonical_alias"
    )
}
