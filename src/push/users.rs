//! Which users have pushers: events are evaluated for them alone.

use std::collections::HashSet;

use ruma::{OwnedUserId, UserId};
use storage::{Message, PeerEvent, pushers};

use crate::{Error, Push};

/// The users who have pushers, and perhaps some who had. There are as many at the most as accounts.
#[derive(Debug, Default)]
pub(crate) struct PusherUsers {
    users: HashSet<String>,
    is_loaded: bool,
    /// Counts additions, so that a user is not forgotten who has set a pusher meanwhile.
    additions: u64,
}

impl PusherUsers {
    pub(crate) fn contains(&self, user_id: &str) -> bool {
        self.users.contains(user_id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.users.iter().map(String::as_str)
    }

    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    pub(crate) fn additions(&self) -> u64 {
        self.additions
    }

    /// Forgets users who turned out to have no pushers, unless one was added since.
    pub(crate) fn forget(&mut self, users: &[OwnedUserId], additions: u64) {
        if self.additions == additions {
            for user_id in users {
                self.users.remove(user_id.as_str());
            }
        }
    }

    fn insert(&mut self, user_id: &UserId) {
        self.additions += 1;
        self.users.insert(user_id.to_string());
    }
}

impl Push {
    /// Learns who sets pushers by way of other processes, until it is cancelled.
    pub async fn follow_peers(&self) {
        let mut events = self.0.database.subscribe();
        // Messages from before were missed.
        self.0.users.lock().is_loaded = false;
        while let Some(event) = events.next().await {
            match event {
                PeerEvent::Message(message) => {
                    if let Message::PusherSet(user_id) = &*message {
                        self.0.users.lock().insert(user_id);
                    }
                }
                PeerEvent::Resync => self.0.users.lock().is_loaded = false,
            }
        }
    }

    /// Notes that a user has a pusher, here and in other processes.
    pub(crate) fn note_pusher(&self, user_id: &UserId) {
        self.0.users.lock().insert(user_id);
        let message = Message::PusherSet(user_id.to_owned());
        self.0.database.publish(message);
    }

    /// Reads the users who have pushers, if some may be missing.
    pub(crate) async fn load_users(&self) -> Result<(), Error> {
        {
            let mut users = self.0.users.lock();
            if users.is_loaded {
                return Ok(());
            }
            // Before the read: what is missed during it leads to another one.
            users.is_loaded = true;
        }
        let loaded = async { pushers::users(&mut *self.0.database.acquire().await?).await };
        match loaded.await {
            Ok(loaded) => {
                let mut users = self.0.users.lock();
                users.users.extend(loaded.into_iter().map(Into::into));
                Ok(())
            }
            Err(error) => {
                self.0.users.lock().is_loaded = false;
                Err(error.into())
            }
        }
    }
}
