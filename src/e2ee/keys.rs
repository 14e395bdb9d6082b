//! The handle of this crate.

use ruma::{OwnedServerName, ServerName, UserId};
use storage::{Committer, Database};
use types::Clock;

/// Keys and to-device messages of this server's users; cheap to clone.
#[derive(Clone, Debug)]
pub struct Keys {
    pub(crate) database: Database,
    pub(crate) committer: Committer,
    pub(crate) server_name: OwnedServerName,
    pub(crate) clock: Clock,
}

impl Keys {
    /// A handle to the keys in this database.
    pub fn new(
        database: Database,
        committer: Committer,
        server_name: &ServerName,
        clock: Clock,
    ) -> Self {
        Self {
            database,
            committer,
            server_name: server_name.to_owned(),
            clock,
        }
    }

    /// Whether the user id belongs to this server.
    pub(crate) fn is_local(&self, user_id: &UserId) -> bool {
        user_id.server_name() == self.server_name
    }
}
