//! Which servers the rooms' ACLs keep out: they are sent nothing of a room but its events.
//!
//! Spec: server-server, "Server Access Control Lists".

use std::collections::HashMap;

use event::acl::ServerAcl;
use ruma::ServerName;
use storage::{Connection, Error, deliveries};
use types::RoomNid;

/// The ACLs of some rooms.
#[derive(Debug, Default)]
pub(crate) struct Acls(HashMap<RoomNid, ServerAcl>);

impl Acls {
    /// Reads the ACLs of rooms.
    pub(crate) async fn load(db: &mut Connection, rooms: &[RoomNid]) -> Result<Self, Error> {
        if rooms.is_empty() {
            return Ok(Self::default());
        }
        let events = deliveries::server_acls(db, rooms).await?.into_iter();
        let acls = events.map(|(room_nid, json)| (room_nid, ServerAcl::of_event(&json)));
        Ok(Self(acls.collect()))
    }

    /// Whether a server may take part in a room.
    pub(crate) fn allow(&self, room_nid: RoomNid, server_name: &ServerName) -> bool {
        let acl = self.0.get(&room_nid);
        acl.is_none_or(|acl| acl.allows(server_name))
    }
}
