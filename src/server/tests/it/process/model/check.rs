//! What must agree when nothing happens any more.

mod clients;
mod confidential;
mod endpoints;

use std::collections::BTreeMap;

use super::{history::History, syncer::Syncer, world::World};

/// A check of one client and one room.
struct Subject<'a> {
    world: &'a World,
    history: &'a History,
    user: usize,
    user_id: &'a str,
    /// Who is checked, for messages.
    name: String,
}

impl<'a> Subject<'a> {
    fn membership(&self) -> &'a str {
        self.history
            .membership(self.user_id, Some(self.history.last()))
    }

    /// The last event whose state the user may know.
    fn end_of_stay(&self) -> Option<usize> {
        self.history.end_of_stay(self.user_id, self.history.last())
    }

    /// Whether the user may read the room's history at all.
    fn may_read(&self) -> bool {
        let last = self.history.last();
        match self.membership() {
            "join" => true,
            _ if self.history.is_open_after(last) => true,
            _ if self.world.has_forgotten(self.user, &self.history.room_id) => false,
            "invite" if self.history.visibility(Some(last)) == "invited" => true,
            _ => self.end_of_stay().is_some(),
        }
    }

    /// All events that the user may see, as indexes.
    fn visible(&self) -> Vec<usize> {
        let last = self.history.last();
        let may_see = |index: &usize| self.history.may_see(self.user_id, *index, last);
        (0..=last).filter(may_see).collect()
    }

    /// Fails with the room's history.
    fn fail(&self, what: &str) -> ! {
        let events = self.history.events.iter().enumerate();
        let lines: Vec<String> = events
            .map(|(index, event)| format!("{index}: {event}"))
            .collect();
        self.world.log.add(format!(
            "history of {}:\n{}",
            self.history.room_id,
            lines.join("\n")
        ));
        panic!("{}: {what} ({})", self.name, self.history.room_id);
    }

    fn require<T: PartialEq + std::fmt::Debug>(&self, what: &str, found: &T, expected: &T) {
        if found != expected {
            self.fail(&format!("{what} is\n  {found:?}\nnot\n  {expected:?}"));
        }
    }
}

/// Compares all clients and all endpoints with what really happened.
pub(super) fn check<'a>(
    world: &World,
    histories: &BTreeMap<String, History>,
    syncers: &mut [Syncer<'a>],
    fresh: &mut [Syncer<'a>],
) {
    for syncer in syncers.iter_mut().chain(fresh.iter_mut()) {
        confidential::check(histories, syncer);
        clients::check_checkpoints(histories, syncer);
    }
    for syncer in syncers.iter() {
        let fresh = fresh
            .iter()
            .find(|fresh| fresh.user == syncer.user)
            .unwrap();
        clients::check(histories, syncer, fresh);
    }
    for fresh in fresh {
        clients::check(histories, fresh, fresh);
        for history in histories.values() {
            let subject = Subject::new(world, history, fresh);
            endpoints::check(&subject, fresh);
        }
        endpoints::check_account(histories, fresh);
    }
}

impl<'a> Subject<'a> {
    fn new(world: &'a World, history: &'a History, syncer: &Syncer<'_>) -> Self {
        Self {
            world,
            history,
            user: syncer.user,
            user_id: &world.users[syncer.user].user_id,
            name: syncer.name(),
        }
    }
}
