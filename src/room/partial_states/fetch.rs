//! Asking servers for the state before joins, one after the other.

use std::collections::BTreeSet;

use event::acl::ServerAcl;
use ruma::{OwnedEventId, OwnedServerName, UserId};
use storage::partial_states::PartialState;

use crate::{
    Error, Rooms, append::received::StatesAfter, head::Head, outliers::RoomIdentity, remote::joined,
};

/// The most servers that are asked in one attempt.
const MAX_SERVERS: usize = 20;

impl Rooms {
    /// Adds the states after events, as the first server tells them that does.
    pub(super) async fn fetch_states_after(
        &self,
        head: &Head,
        partial: &PartialState,
        wanted: BTreeSet<OwnedEventId>,
        states: &mut StatesAfter,
    ) -> Result<(), Error> {
        let room = RoomIdentity::of(head);
        let servers = self.servers_with_state(head, partial);
        for event_id in wanted {
            let mut last = Error::UnknownRoom;
            for server in &servers {
                let fetched = Box::pin(self.fetch_state(server, &room, &event_id, true));
                match fetched.await {
                    Ok(state) => {
                        states.insert(event_id.clone(), state);
                        break;
                    }
                    Err(error) => {
                        tracing::info!(room.id = %room.room_id, server.name = %server, %error, "A server does not tell the state of a room");
                        last = error;
                    }
                }
            }
            if !states.contains_key(&event_id) {
                return Err(last);
            }
        }
        Ok(())
    }

    /// The servers that may be asked: that which was joined through, then those that are in the room.
    fn servers_with_state(&self, head: &Head, partial: &PartialState) -> Vec<OwnedServerName> {
        let acl = ServerAcl::of(head.state.core());
        let stated = partial.via.iter().chain(partial.servers.iter());
        let stated = stated.map(AsRef::as_ref);
        let all = stated.chain(joined(head).map(UserId::server_name));
        let allowed = all.filter(|server| acl.allows(server));
        let mut servers = self.0.federation.candidates(allowed);
        servers.truncate(MAX_SERVERS);
        servers
    }
}
