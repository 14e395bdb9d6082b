//! The list of those who type in one room.

use ruma::{OwnedUserId, UserId};
use tokio::time::Instant;
use types::EphemeralPosition;

use super::LONGEST;

/// Who types in a room, and until when if nothing is heard.
#[derive(Debug, Default)]
pub(crate) struct Typing {
    /// When the list last changed.
    pub(crate) position: EphemeralPosition,
    typists: Vec<Typist>,
}

#[derive(Debug)]
struct Typist {
    user_id: OwnedUserId,
    until: Instant,
    /// When this process last told the others, if it is the one that looks after the entry.
    told: Option<Instant>,
}

/// What became of a list.
pub(super) struct Outcome {
    /// Whether it says something else now.
    pub(super) is_changed: bool,
    /// Whether other processes are to be told.
    pub(super) is_worth_telling: bool,
}

/// Who was taken off a list.
pub(super) struct Ended {
    pub(super) is_changed: bool,
    /// Those of them whom this process looked after.
    pub(super) ours: Vec<OwnedUserId>,
}

impl Typing {
    /// The users.
    pub(crate) fn users(&self) -> impl Iterator<Item = &OwnedUserId> {
        self.typists.iter().map(|typist| &typist.user_id)
    }

    /// Those whom this process looks after.
    pub(super) fn ours(&self) -> impl Iterator<Item = &OwnedUserId> {
        let ours = self.typists.iter().filter(|typist| typist.told.is_some());
        ours.map(|typist| &typist.user_id)
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.typists.iter().map(|typist| typist.until).min()
    }

    /// This process has heard that the user types, or goes on typing.
    pub(super) fn begin(&mut self, user_id: &UserId, now: Instant, until: Instant) -> Outcome {
        let before = self.take(user_id);
        let told = before.as_ref().and_then(|typist| typist.told);
        // The others forget whom they do not hear of for so long.
        let told = told.filter(|told| now.duration_since(*told) < LONGEST / 2);
        self.typists.push(Typist {
            user_id: user_id.to_owned(),
            until,
            told: Some(told.unwrap_or(now)),
        });
        Outcome {
            is_changed: before.is_none(),
            is_worth_telling: told.is_none(),
        }
    }

    /// Another process has heard it; says whether the list has changed.
    pub(super) fn begin_elsewhere(&mut self, user_id: &UserId, until: Instant) -> bool {
        let before = self.take(user_id);
        self.typists.push(Typist {
            user_id: user_id.to_owned(),
            until,
            told: None,
        });
        before.is_none()
    }

    /// The user has stopped.
    pub(super) fn end(&mut self, user_id: &UserId) -> Outcome {
        let is_changed = self.take(user_id).is_some();
        Outcome {
            is_changed,
            is_worth_telling: is_changed,
        }
    }

    /// Takes off those whose time is over.
    pub(super) fn expire(&mut self, now: Instant) -> Ended {
        self.end_where(|typist| typist.until <= now)
    }

    /// Takes off those whom other processes look after.
    pub(super) fn end_elsewhere(&mut self) -> Ended {
        self.end_where(|typist| typist.told.is_none())
    }

    fn end_where(&mut self, is_over: impl Fn(&Typist) -> bool) -> Ended {
        let over: Vec<Typist> = self
            .typists
            .extract_if(.., |typist| is_over(typist))
            .collect();
        Ended {
            is_changed: !over.is_empty(),
            ours: (over.into_iter())
                .filter(|typist| typist.told.is_some())
                .map(|typist| typist.user_id)
                .collect(),
        }
    }

    fn take(&mut self, user_id: &UserId) -> Option<Typist> {
        let index = (self.typists.iter()).position(|typist| typist.user_id == user_id)?;
        Some(self.typists.remove(index))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ruma::{UserId, user_id};

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn alice() -> &'static UserId {
        user_id!("@alice:test.localhost")
    }

    #[test]
    fn others_are_told_once_a_minute_of_who_goes_on_typing() {
        let mut list = Typing::default();
        let start = Instant::now();
        for (seconds, is_told) in [(0, true), (10, false), (59, false), (60, true), (70, false)] {
            let now = start + Duration::from_secs(seconds);
            let outcome = list.begin(alice(), now, now + MINUTE);
            assert_eq!(outcome.is_worth_telling, is_told, "{seconds}");
            assert_eq!(outcome.is_changed, seconds == 0);
        }
    }

    #[test]
    fn who_is_taken_over_from_another_process_is_told_of_but_is_no_news() {
        let mut list = Typing::default();
        let now = Instant::now();
        assert!(list.begin_elsewhere(alice(), now + MINUTE));
        assert!(!list.begin_elsewhere(alice(), now + MINUTE));
        let outcome = list.begin(alice(), now, now + MINUTE);
        assert!(outcome.is_worth_telling && !outcome.is_changed);
        assert_eq!(list.users().count(), 1);
    }

    #[test]
    fn only_the_process_that_looks_after_an_entry_tells_of_its_end() {
        let (mut here, mut there) = (Typing::default(), Typing::default());
        let now = Instant::now();
        let until = now + MINUTE;
        here.begin(alice(), now, until);
        there.begin_elsewhere(alice(), until);
        assert!(!here.expire(now).is_changed);
        let (here, there) = (here.expire(until), there.expire(until));
        assert!(here.is_changed && there.is_changed);
        assert_eq!(here.ours, [alice()]);
        assert!(there.ours.is_empty());
    }
}
