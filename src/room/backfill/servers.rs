//! Which servers are asked for what is not known of a room.

use event::acl::ServerAcl;
use ruma::{OwnedServerName, ServerName};

use crate::{Error, Rooms, head::Head, remote::joined_by_server};

/// The most servers that are asked for one thing.
const MAX_SERVERS: usize = 6;

impl Rooms {
    /// Whether anybody of another server is or was in a room, so that there may be more of it than
    /// is known here.
    pub(crate) fn has_remote_members(&self, head: &Head) -> bool {
        let own = self.0.settings.server_name.as_str();
        let mut members = head.state.members().iter();
        let is_remote = |user_id: &str| {
            let server = user_id.split_once(':').map(|(_, server)| server);
            server != Some(own)
        };
        head.state.is_partial() || members.any(|(user_id, _)| is_remote(user_id))
    }

    /// The servers that are in a room and may be asked about it, the most promising first: that which
    /// must know, then those with the most members. Those that failed a moment ago are left out.
    pub(crate) fn servers_to_ask(
        &self,
        head: &Head,
        first: Option<&ServerName>,
    ) -> Vec<OwnedServerName> {
        let mut members = joined_by_server(head);
        for server in head.state.stated_servers() {
            members.entry(server).or_default();
        }
        let mut servers: Vec<_> = members.into_iter().collect();
        servers.sort_by_key(|(server, count)| {
            let is_first = first == Some(*server);
            (!is_first, std::cmp::Reverse(*count), *server)
        });
        let acl = ServerAcl::of(head.state.core());
        let servers = servers.into_iter().map(|(server, _)| server);
        let servers = servers.filter(|server| acl.allows(server));
        let mut servers = self.0.federation.candidates(servers);
        let failing = &self.0.backfill.failing_servers;
        servers.retain(|server| !failing.contains_key(server));
        servers.truncate(MAX_SERVERS);
        servers
    }

    /// Notes that a server did not answer, so that it is not asked for a while; whether it did, and
    /// refused.
    pub(crate) fn note_failure_of(&self, server: &ServerName, error: &Error) -> bool {
        use federation::Error::{InvalidResponse, Remote, Unreachable};
        match error {
            Error::Federation(Unreachable { .. } | InvalidResponse { .. }) => {
                let failing = &self.0.backfill.failing_servers;
                failing.insert(server.to_owned(), ());
                false
            }
            Error::Federation(Remote { status, .. }) => (400..500).contains(status),
            _ => false,
        }
    }
}
