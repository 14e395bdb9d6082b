//! The typing users of one room.

use std::time::Duration;

use ruma::{OwnedUserId, UserId};
use tokio::time::Instant;
use types::EphemeralPosition;

/// A user who does not repeat the request counts as typing no longer than this.
pub(crate) const MAX_TYPING: Duration = Duration::from_mins(2);

/// The typing users of a room, each with the time when the entry expires.
#[derive(Debug, Default)]
pub(crate) struct TypingUsers {
    /// When the list last changed.
    pub(crate) position: EphemeralPosition,
    users: Vec<TypingUser>,
}

#[derive(Debug)]
struct TypingUser {
    user_id: OwnedUserId,
    until: Instant,
    /// When this process last announced the user, if it owns the entry.
    announced_at: Option<Instant>,
}

/// The effect of an update.
pub(crate) struct TypingChange {
    /// Whether the set of users changed.
    pub(crate) is_changed: bool,
    /// Whether to announce it to other processes.
    pub(crate) must_announce: bool,
}

/// Users that were removed.
pub(crate) struct Stopped {
    pub(crate) is_changed: bool,
    /// Those whose entries this process owned.
    pub(crate) local: Vec<OwnedUserId>,
}

impl TypingUsers {
    /// The users.
    pub(crate) fn users(&self) -> impl Iterator<Item = &OwnedUserId> {
        self.users.iter().map(|user| &user.user_id)
    }

    /// Users whose entries this process owns.
    pub(crate) fn local(&self) -> impl Iterator<Item = &OwnedUserId> {
        let local = self.users.iter().filter(|user| user.announced_at.is_some());
        local.map(|user| &user.user_id)
    }

    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.users.iter().map(|user| user.until).min()
    }

    /// A client of this process reports that the user is typing.
    pub(crate) fn start(&mut self, user_id: &UserId, now: Instant, until: Instant) -> TypingChange {
        let before = self.remove(user_id);
        let announced_at = before.as_ref().and_then(|user| user.announced_at);
        // In the others the entry expires after `MAX_TYPING`.
        let announced_at =
            announced_at.filter(|announced_at| now.duration_since(*announced_at) < MAX_TYPING / 2);
        self.users.push(TypingUser {
            user_id: user_id.to_owned(),
            until,
            announced_at: Some(announced_at.unwrap_or(now)),
        });
        TypingChange {
            is_changed: before.is_none(),
            must_announce: announced_at.is_none(),
        }
    }

    /// Another process announces that the user is typing; returns whether the set changed.
    pub(crate) fn start_elsewhere(&mut self, user_id: &UserId, until: Instant) -> bool {
        let before = self.remove(user_id);
        self.users.push(TypingUser {
            user_id: user_id.to_owned(),
            until,
            announced_at: None,
        });
        before.is_none()
    }

    /// The user has stopped.
    pub(crate) fn stop(&mut self, user_id: &UserId) -> TypingChange {
        let is_changed = self.remove(user_id).is_some();
        TypingChange {
            is_changed,
            must_announce: is_changed,
        }
    }

    /// Removes users whose time has expired.
    pub(crate) fn expire(&mut self, now: Instant) -> Stopped {
        self.stop_where(|user| user.until <= now)
    }

    /// Removes users whose entries other processes own.
    pub(crate) fn stop_elsewhere(&mut self) -> Stopped {
        self.stop_where(|user| user.announced_at.is_none())
    }

    fn stop_where(&mut self, is_stopped: impl Fn(&TypingUser) -> bool) -> Stopped {
        let stopped: Vec<TypingUser> = self.users.extract_if(.., |user| is_stopped(user)).collect();
        Stopped {
            is_changed: !stopped.is_empty(),
            local: (stopped.into_iter())
                .filter(|user| user.announced_at.is_some())
                .map(|user| user.user_id)
                .collect(),
        }
    }

    fn remove(&mut self, user_id: &UserId) -> Option<TypingUser> {
        let index = (self.users.iter()).position(|user| user.user_id == user_id)?;
        Some(self.users.remove(index))
    }
}

#[cfg(test)]
mod tests {
    use ruma::{UserId, user_id};

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn alice() -> &'static UserId {
        user_id!("@alice:test.localhost")
    }

    #[test]
    fn continued_typing_is_announced_once_a_minute() {
        let mut list = TypingUsers::default();
        let start = Instant::now();
        for (seconds, is_told) in [(0, true), (10, false), (59, false), (60, true), (70, false)] {
            let now = start + Duration::from_secs(seconds);
            let outcome = list.start(alice(), now, now + MINUTE);
            assert_eq!(outcome.must_announce, is_told, "{seconds}");
            assert_eq!(outcome.is_changed, seconds == 0);
        }
    }

    #[test]
    fn taking_over_an_entry_is_announced_but_changes_nothing() {
        let mut list = TypingUsers::default();
        let now = Instant::now();
        assert!(list.start_elsewhere(alice(), now + MINUTE));
        assert!(!list.start_elsewhere(alice(), now + MINUTE));
        let outcome = list.start(alice(), now, now + MINUTE);
        assert!(outcome.must_announce && !outcome.is_changed);
        assert_eq!(list.users().count(), 1);
    }

    #[test]
    fn only_the_owner_announces_that_typing_ended() {
        let (mut here, mut there) = (TypingUsers::default(), TypingUsers::default());
        let now = Instant::now();
        let until = now + MINUTE;
        here.start(alice(), now, until);
        there.start_elsewhere(alice(), until);
        assert!(!here.expire(now).is_changed);
        let (here, there) = (here.expire(until), there.expire(until));
        assert!(here.is_changed && there.is_changed);
        assert_eq!(here.local, [alice()]);
        assert!(there.local.is_empty());
    }
}
