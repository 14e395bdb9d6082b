//! The typing users of one room.

use std::{collections::HashSet, time::Duration};

use ruma::{OwnedUserId, UserId};
use tokio::time::Instant;
use types::EphemeralPosition;

/// A user who does not repeat the request counts as typing no longer than this.
pub(crate) const MAX_TYPING: Duration = Duration::from_mins(2);

/// How often an entry is announced: in other processes it expires after `MAX_TYPING`, at other servers
/// after less than a minute.
const REPEAT: Duration = Duration::from_secs(30);

/// The typing users of a room.
///
/// A user whose requests went to several processes has an entry of each of them. Each process ends
/// its own entries only, or all entries of a user when asked to stop, so that the order in which
/// announcements of different processes arrive does not matter.
#[derive(Debug, Default)]
pub(crate) struct TypingUsers {
    /// When the list last changed.
    pub(crate) position: EphemeralPosition,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    user_id: OwnedUserId,
    owner: Owner,
    until: Instant,
}

/// The process that served the user's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// This one; it last announced the entry then.
    Here { announced_at: Instant },
    /// Another one, by its number.
    Peer(i64),
}

/// The effect of a request to this process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TypingChange {
    /// Whether the set of users changed.
    pub(crate) is_changed: bool,
    /// Whether to announce it to other processes.
    pub(crate) must_announce: bool,
}

/// The entries that ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct EndedTyping {
    /// Whether the set of users changed.
    pub(crate) is_changed: bool,
    /// The users whose entries of this process ended.
    pub(crate) local: Vec<OwnedUserId>,
}

impl TypingUsers {
    /// The users, each once.
    pub(crate) fn users(&self) -> impl Iterator<Item = &OwnedUserId> {
        let mut seen = HashSet::new();
        let users = self.entries.iter().map(|entry| &entry.user_id);
        users.filter(move |user_id| seen.insert(*user_id))
    }

    /// Whether the list has no users.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Users with an entry of this process.
    pub(crate) fn local(&self) -> impl Iterator<Item = &OwnedUserId> {
        let local = self.entries.iter().filter(|entry| entry.is_local());
        local.map(|entry| &entry.user_id)
    }

    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.entries.iter().map(|entry| entry.until).min()
    }

    /// A client of this process reports that the user is typing. Without effect for one more user
    /// than `limit`: a list of so many does not change with every further request.
    pub(crate) fn start(
        &mut self,
        user_id: &UserId,
        now: Instant,
        until: Instant,
        limit: usize,
    ) -> TypingChange {
        let is_changed = !self.contains(user_id);
        if is_changed && self.users().count() >= limit {
            return TypingChange {
                is_changed: false,
                must_announce: false,
            };
        }
        let announced_at = self
            .take(user_id, Entry::is_local)
            .and_then(Entry::announced_at);
        let announced_at =
            announced_at.filter(|announced_at| now.duration_since(*announced_at) < REPEAT);
        let owner = Owner::Here {
            announced_at: announced_at.unwrap_or(now),
        };
        self.insert(user_id, owner, until);
        TypingChange {
            is_changed,
            must_announce: announced_at.is_none(),
        }
    }

    /// Another process announces an entry; returns whether the set of users changed.
    pub(crate) fn start_at_peer(
        &mut self,
        user_id: &UserId,
        peer: i64,
        until: Instant,
        limit: usize,
    ) -> bool {
        let is_changed = !self.contains(user_id);
        if is_changed && self.users().count() >= limit {
            return false;
        }
        let owner = Owner::Peer(peer);
        self.take(user_id, |entry| entry.owner == owner);
        self.insert(user_id, owner, until);
        is_changed
    }

    /// The user has stopped, or is no member any more: ends all entries.
    pub(crate) fn stop(&mut self, user_id: &UserId) -> EndedTyping {
        self.end_where(|entry| entry.user_id == user_id)
    }

    /// Another process announces that its entry has ended.
    pub(crate) fn end_at_peer(&mut self, user_id: &UserId, peer: i64) -> EndedTyping {
        let owner = Owner::Peer(peer);
        self.end_where(|entry| entry.user_id == user_id && entry.owner == owner)
    }

    /// Ends entries whose time has expired.
    pub(crate) fn expire(&mut self, now: Instant) -> EndedTyping {
        self.end_where(|entry| entry.until <= now)
    }

    /// Ends the entries of other processes.
    pub(crate) fn end_at_peers(&mut self) -> EndedTyping {
        self.end_where(|entry| !entry.is_local())
    }

    fn end_where(&mut self, is_ended: impl Fn(&Entry) -> bool) -> EndedTyping {
        let ended: Vec<Entry> = self
            .entries
            .extract_if(.., |entry| is_ended(entry))
            .collect();
        EndedTyping {
            is_changed: ended.iter().any(|entry| !self.contains(&entry.user_id)),
            local: (ended.into_iter())
                .filter(Entry::is_local)
                .map(|entry| entry.user_id)
                .collect(),
        }
    }

    pub(crate) fn contains(&self, user_id: &UserId) -> bool {
        self.entries.iter().any(|entry| entry.user_id == user_id)
    }

    fn insert(&mut self, user_id: &UserId, owner: Owner, until: Instant) {
        self.entries.push(Entry {
            user_id: user_id.to_owned(),
            owner,
            until,
        });
    }

    fn take(&mut self, user_id: &UserId, of: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let index =
            (self.entries.iter()).position(|entry| entry.user_id == user_id && of(entry))?;
        Some(self.entries.remove(index))
    }
}

impl Entry {
    fn is_local(&self) -> bool {
        matches!(self.owner, Owner::Here { .. })
    }

    fn announced_at(self) -> Option<Instant> {
        match self.owner {
            Owner::Here { announced_at } => Some(announced_at),
            Owner::Peer(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::{UserId, user_id};

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const LIMIT: usize = 2;
    const PEER: i64 = 7;

    fn alice() -> &'static UserId {
        user_id!("@alice:test.localhost")
    }

    fn bob() -> &'static UserId {
        user_id!("@bob:test.localhost")
    }

    fn carol() -> &'static UserId {
        user_id!("@carol:test.localhost")
    }

    fn ended(is_changed: bool, local: &[&UserId]) -> EndedTyping {
        EndedTyping {
            is_changed,
            local: local.iter().map(|user_id| (*user_id).to_owned()).collect(),
        }
    }

    #[test]
    fn continued_typing_is_announced_twice_a_minute() {
        let mut list = TypingUsers::default();
        let start = Instant::now();
        for (seconds, is_announced) in
            [(0, true), (10, false), (29, false), (30, true), (40, false)]
        {
            let now = start + Duration::from_secs(seconds);
            let change = list.start(alice(), now, now + MINUTE, LIMIT);
            assert_eq!(change.must_announce, is_announced, "{seconds}");
            assert_eq!(change.is_changed, seconds == 0);
        }
    }

    #[test]
    fn entries_of_several_processes_show_the_user_once_until_the_last_ends() {
        let mut list = TypingUsers::default();
        let now = Instant::now();
        assert!(list.start_at_peer(alice(), PEER, now + MINUTE, LIMIT));
        assert!(!list.start_at_peer(alice(), PEER, now + MINUTE, LIMIT));
        let change = list.start(alice(), now, now + MINUTE, LIMIT);
        assert!(change.must_announce && !change.is_changed);
        assert_eq!(list.users().collect::<Vec<_>>(), [alice()]);
        assert_eq!(list.end_at_peer(alice(), PEER), ended(false, &[]));
        assert_eq!(list.expire(now + MINUTE), ended(true, &[alice()]));
    }

    #[test]
    fn only_the_owner_announces_that_typing_ended() {
        let (mut here, mut there) = (TypingUsers::default(), TypingUsers::default());
        let now = Instant::now();
        let until = now + MINUTE;
        here.start(alice(), now, until, LIMIT);
        there.start_at_peer(alice(), PEER, until, LIMIT);
        assert!(!here.expire(now).is_changed);
        assert_eq!(here.expire(until), ended(true, &[alice()]));
        assert_eq!(there.expire(until), ended(true, &[]));
    }

    #[test]
    fn stopping_ends_the_entries_of_all_processes() {
        let mut list = TypingUsers::default();
        let now = Instant::now();
        list.start(alice(), now, now + MINUTE, LIMIT);
        list.start_at_peer(alice(), PEER, now + MINUTE, LIMIT);
        assert_eq!(list.stop(alice()), ended(true, &[alice()]));
        assert_eq!(list.stop(alice()), ended(false, &[]));
        assert_eq!(list.users().count(), 0);
    }

    #[test]
    fn one_more_user_than_the_limit_is_left_out_until_another_stops() {
        let mut list = TypingUsers::default();
        let now = Instant::now();
        list.start(alice(), now, now + MINUTE, LIMIT);
        list.start_at_peer(bob(), PEER, now + MINUTE, LIMIT);
        let change = list.start(carol(), now, now + MINUTE, LIMIT);
        assert!(!change.is_changed && !change.must_announce);
        assert!(!list.start_at_peer(carol(), PEER, now + MINUTE, LIMIT));
        assert_eq!(list.users().collect::<Vec<_>>(), [alice(), bob()]);
        // Those in the list can go on.
        list.start(bob(), now, now + MINUTE, LIMIT);
        assert!(list.stop(alice()).is_changed);
        assert!(list.start(carol(), now, now + MINUTE, LIMIT).is_changed);
        assert_eq!(list.users().count(), LIMIT);
    }
}
