//! Servers that were in a room for a while without being believed to be: what was to be sent to all servers in
//! the room has not been sent to them.

use std::collections::{BTreeSet, HashMap, HashSet};

use event::Pdu;
use ruma::{
    OwnedServerName, OwnedUserId, ServerName, UserId, events::room::member::MembershipState,
};
use storage::partial_states::StatedServers;

/// Which servers were in a room, and which were believed to be, along its history.
#[derive(Debug, Default)]
pub(super) struct RoomServers {
    /// Believed to be there all the time.
    stated: StatedServers,
    believed: JoinedUsers,
    actual: JoinedUsers,
    missed: BTreeSet<OwnedServerName>,
}

#[derive(Debug, Default)]
struct JoinedUsers {
    users: HashSet<OwnedUserId>,
    servers: HashMap<OwnedServerName, usize>,
}

impl RoomServers {
    pub(super) fn new(stated: StatedServers) -> Self {
        Self {
            stated,
            ..Self::default()
        }
    }

    /// Begins anew with who was in the room after a join.
    pub(super) fn begin(&mut self, believed: Vec<OwnedUserId>, actual: Vec<OwnedUserId>) {
        self.believed = JoinedUsers::of(believed);
        self.actual = JoinedUsers::of(actual);
        let servers: Vec<OwnedServerName> = self.actual.servers.keys().cloned().collect();
        for server in servers {
            self.check(&server);
        }
    }

    /// Follows an event, by what it was believed to be and by what it is.
    pub(super) fn follow(&mut self, pdu: &Pdu, was_accepted: bool, is_accepted: bool) {
        let Some(membership) = pdu.membership() else {
            return;
        };
        let user_id = pdu.state_key().map(<&UserId>::try_from);
        let Some(Ok(user_id)) = user_id else {
            return;
        };
        let is_joined = membership == MembershipState::Join;
        if was_accepted {
            self.believed.set(user_id, is_joined);
        }
        if is_accepted {
            self.actual.set(user_id, is_joined);
        }
        self.check(user_id.server_name());
    }

    fn check(&mut self, server: &ServerName) {
        if self.actual.has(server) && !self.believed.has(server) && !self.stated.contains(server) {
            self.missed.insert(server.to_owned());
        }
    }

    pub(super) fn into_missed(self) -> Vec<OwnedServerName> {
        self.missed.into_iter().collect()
    }
}

impl JoinedUsers {
    fn of(users: Vec<OwnedUserId>) -> Self {
        let mut joined = Self::default();
        for user_id in users {
            joined.set(&user_id, true);
        }
        joined
    }

    fn has(&self, server: &ServerName) -> bool {
        self.servers.contains_key(server)
    }

    fn set(&mut self, user_id: &UserId, is_joined: bool) {
        let server = user_id.server_name();
        if is_joined {
            if self.users.insert(user_id.to_owned()) {
                *self.servers.entry(server.to_owned()).or_default() += 1;
            }
        } else if self.users.remove(user_id)
            && let Some(count) = self.servers.get_mut(server)
        {
            *count -= 1;
            if *count == 0 {
                self.servers.remove(server);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ruma::{owned_server_name, owned_user_id};

    use super::RoomServers;

    #[test]
    fn servers_that_were_neither_stated_nor_seen_are_missed() {
        let stated = Arc::new([owned_server_name!("stated.test")].into());
        let mut servers = RoomServers::new(stated);
        let seen = owned_user_id!("@a:seen.test");
        let actual = vec![
            owned_user_id!("@a:stated.test"),
            seen.clone(),
            owned_user_id!("@a:missed.test"),
        ];
        servers.begin(vec![seen], actual);
        assert_eq!(servers.into_missed(), [owned_server_name!("missed.test")]);
    }
}
