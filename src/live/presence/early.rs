//! Presence of users of other servers that comes before any room of theirs is known.
//!
//! A server that lets a user join a room sends presence to the joining server at once, which may arrive
//! before the joining server has stored the room. It is kept for a while, and taken in when the users
//! of whom it is turn out to be in a room.

use std::{collections::HashMap, time::Duration};

use ruma::{OwnedUserId, UserId};

use super::RemotePresence;

/// How long presence is kept, in milliseconds.
const KEPT: i64 = 60_000;
/// Of how many users presence is kept; there may be servers that send that of strangers.
const MAX_USERS: usize = 1_000;

/// Presence of users of whom no room is known.
#[derive(Debug, Default)]
pub(super) struct EarlyPresence {
    /// What was last said of each, and when.
    said: HashMap<OwnedUserId, (RemotePresence, i64)>,
    /// Those of them who have joined a room.
    joined: Vec<OwnedUserId>,
}

impl EarlyPresence {
    /// Keeps what is said of a user, unless too much is kept already.
    pub(super) fn keep(&mut self, user_id: OwnedUserId, said: RemotePresence, now: i64) {
        if self.said.len() >= MAX_USERS && !self.said.contains_key(&user_id) {
            self.said.retain(|_, (_, at)| *at + KEPT > now);
            if self.said.len() >= MAX_USERS {
                return;
            }
        }
        self.said.insert(user_id, (said, now));
    }

    /// A user has joined a room.
    pub(super) fn joined(&mut self, user_id: &UserId) {
        if self.said.contains_key(user_id) {
            self.joined.push(user_id.to_owned());
        }
    }

    /// Takes what is kept of those who have joined a room.
    pub(super) fn take_joined(&mut self, now: i64) -> Vec<(OwnedUserId, RemotePresence)> {
        let joined = std::mem::take(&mut self.joined).into_iter();
        joined
            .filter_map(|user_id| Some((user_id.clone(), self.take(&user_id, now)?)))
            .collect()
    }

    /// Takes what is kept of a user.
    pub(super) fn take(&mut self, user_id: &UserId, now: i64) -> Option<RemotePresence> {
        let (mut said, at) = self.said.remove(user_id)?;
        let age = now.saturating_sub(at).max(0);
        said.last_active_ago += Duration::from_millis(age.unsigned_abs());
        (age < KEPT).then_some(said)
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use storage::cluster::PresenceState;

    use super::*;

    const START: i64 = 1_700_000_000_000;

    fn online() -> RemotePresence {
        RemotePresence {
            state: PresenceState::Online,
            last_active_ago: Duration::from_secs(1),
            currently_active: true,
            status_msg: None,
        }
    }

    #[test]
    fn what_comes_early_is_taken_in_once_the_user_has_joined() {
        let (alice, bob) = (user_id!("@alice:a.example"), user_id!("@bob:a.example"));
        let mut early = EarlyPresence::default();
        early.keep(alice.to_owned(), online(), START);
        early.joined(bob);
        assert!(early.take_joined(START).is_empty());
        early.joined(alice);
        let taken = early.take_joined(START + 2_000);
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].0, alice);
        assert_eq!(taken[0].1.last_active_ago, Duration::from_secs(3));
        early.joined(alice);
        assert!(early.take_joined(START).is_empty());
    }

    #[test]
    fn it_is_kept_for_a_minute_and_bounded() {
        let alice = user_id!("@alice:a.example");
        let mut early = EarlyPresence::default();
        for n in 0..MAX_USERS {
            let user_id = UserId::parse(format!("@u{n}:a.example")).unwrap();
            early.keep(user_id, online(), START);
        }
        early.keep(alice.to_owned(), online(), START + KEPT - 1);
        assert!(early.take(alice, START + KEPT - 1).is_none());
        early.keep(alice.to_owned(), online(), START + KEPT);
        assert_eq!(early.said.len(), 1);
        assert!(early.take(alice, START + 2 * KEPT).is_none());
    }
}
