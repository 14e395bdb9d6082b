//! A room's head: the state and the end of the graph to which the next event is appended.

use std::sync::Arc;

use event::RoomVersion;
use live::RoomState;
use ruma::{UserId, events::room::member::MembershipState};
use types::RoomNid;

use crate::Error;

/// The state of a room with the rules of its version; a clone shares it.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) room_nid: RoomNid,
    pub(crate) version: RoomVersion,
    pub(crate) state: Arc<RoomState>,
}

impl Head {
    /// Fails if this server does not speak the room's version.
    pub(crate) fn new(state: Arc<RoomState>) -> Result<Self, Error> {
        let version = state.version().ok_or(Error::UnknownRoom)?;
        let version = RoomVersion::of(version)
            .ok_or_else(|| Error::UnsupportedVersion(version.to_string()))?;
        Ok(Self {
            room_nid: state.room_nid(),
            version,
            state,
        })
    }

    /// Fails if the user is not in the room, with the error for a room that does not exist.
    pub(crate) fn require_member(&self, user_id: &UserId) -> Result<(), Error> {
        if self.state.membership(user_id) == MembershipState::Join {
            Ok(())
        } else {
            Err(Error::NotInRoom)
        }
    }
}
