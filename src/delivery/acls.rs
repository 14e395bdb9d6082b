//! Which servers the rooms' ACLs keep out: they are sent nothing of a room but its events.
//!
//! Spec: server-server, "Server Access Control Lists".

use std::collections::HashMap;

use event::acl::ServerAcl;
use ruma::ServerName;
use storage::deliveries::SharedRoom;
use types::RoomNid;

/// The ACLs of some rooms.
#[derive(Debug, Default)]
pub(crate) struct Acls(HashMap<RoomNid, ServerAcl>);

impl Acls {
    /// The ACLs of rooms.
    pub(crate) fn of(rooms: &HashMap<RoomNid, SharedRoom>) -> Self {
        let acls = rooms.iter().filter_map(|(room_nid, room)| {
            let json = room.server_acl.as_ref()?;
            Some((*room_nid, ServerAcl::of_event(json)))
        });
        Self(acls.collect())
    }

    /// Whether a server may take part in a room.
    pub(crate) fn allow(&self, room_nid: RoomNid, server_name: &ServerName) -> bool {
        let acl = self.0.get(&room_nid);
        acl.is_none_or(|acl| acl.allows(server_name))
    }
}
