//! What the user may see of the rooms.

use std::collections::HashMap;

use live::UserVisibility;
use ruma::events::room::member::MembershipState;
use types::RoomNid;

use crate::{Error, context::SyncContext, query::RoomRequest};

/// The visibility of those rooms where not every event since the token is visible.
pub(super) async fn of_rooms(
    context: &SyncContext<'_>,
    requests: &[RoomRequest<'_>],
) -> Result<HashMap<RoomNid, UserVisibility>, Error> {
    let (mut visibilities, mut unknown) = (HashMap::new(), Vec::new());
    for request in requests {
        let (room, membership) = (request.room, request.membership);
        let joined = membership.membership == MembershipState::Join;
        match request.query.since {
            // Every event since is visible.
            Some(since)
                if joined
                    && membership.position <= since
                    && !request.query.timeline.is_expanded => {}
            Some(since) if !room.timeline_covers(since) => unknown.push(membership.room_nid),
            // The end of the last stay may be long ago.
            _ if !joined => unknown.push(membership.room_nid),
            _ => {
                let visibility = room.visibility_for(context.user_id);
                visibilities.insert(membership.room_nid, visibility);
            }
        }
    }
    if !unknown.is_empty() {
        let mut db = context.database.acquire().await?;
        let loaded = UserVisibility::load_for_rooms(&mut db, &unknown, context.user_id).await?;
        visibilities.extend(loaded);
    }
    Ok(visibilities)
}
