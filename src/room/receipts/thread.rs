//! Which events belong to a thread.
//!
//! Spec: client-server, "Threaded read receipts".

use ruma::EventId;
use storage::{Connection, events};
use types::RoomNid;

use crate::Error;

/// The thread id of the main timeline.
const MAIN: &str = "main";
/// How many relations are followed up to the one that puts an event into a thread.
const MAX_HOPS: usize = 3;

/// Whether a receipt of the thread may stand on an event of the room.
///
/// The root of a thread, and what relates to the root otherwise, are of the main timeline; a
/// receipt of the thread may stand there, too.
pub(super) async fn contains(
    db: &mut Connection,
    room_nid: RoomNid,
    thread_id: &str,
    event_id: &EventId,
) -> Result<bool, Error> {
    let mut event_id = event_id.to_owned();
    for _ in 0..=MAX_HOPS {
        if event_id.as_str() == thread_id {
            return Ok(true);
        }
        let wanted = [(room_nid, event_id)];
        let mut relations = events::relations_of(db, &wanted).await?.into_values();
        match relations.next().flatten() {
            Some(relation) if relation.is_thread() => {
                return Ok(relation.event_id.as_str() == thread_id);
            }
            Some(relation) => event_id = relation.event_id,
            None => break,
        }
    }
    Ok(thread_id == MAIN)
}
