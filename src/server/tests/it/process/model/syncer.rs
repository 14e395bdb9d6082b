//! A client that syncs: it asks now this process and now that one, loses answers, and fills gaps.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    fold::{Habits, Known, StateIds, list, object, text},
    history::event_id,
    random::Random,
    seen::Seen,
    world::{Http, World, encoded},
};

/// Events of a page when a gap is filled.
const PAGE: usize = 7;

/// What a client asks for.
#[derive(Clone, Default)]
pub(super) struct Options {
    pub(super) name: &'static str,
    pub(super) filter: Value,
    pub(super) is_lazy: bool,
    pub(super) habits: Habits,
}

impl Options {
    /// Whether the timeline holds all that the user may see.
    pub(super) fn is_unfiltered(&self) -> bool {
        let timeline = &self.filter["room"]["timeline"];
        ["types", "not_types", "senders", "not_senders"]
            .iter()
            .all(|field| timeline.get(field).is_none())
    }

    /// Whether the client wants to see an event in the timeline.
    pub(super) fn wants(&self, event: &Value) -> bool {
        let timeline = &self.filter["room"]["timeline"];
        let names =
            |list: &Value, value: &Value| list.as_array().is_some_and(|list| list.contains(value));
        !names(&timeline["not_types"], &event["type"])
            && !names(&timeline["not_senders"], &event["sender"])
    }
}

/// A room as the client knew it after an answer that ended with an event.
pub(super) struct Checkpoint {
    pub(super) room_id: String,
    pub(super) last: String,
    pub(super) senders: Vec<String>,
    pub(super) state: StateIds,
}

/// A client of one user on a device of its own.
pub(super) struct Syncer<'a> {
    pub(super) world: &'a World,
    pub(super) user: usize,
    pub(super) device: usize,
    pub(super) options: Options,
    pub(super) known: Known,
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) seen: Seen,
    random: Random,
    http: Http,
}

impl<'a> Syncer<'a> {
    pub(super) fn new(
        world: &'a World,
        (user, device): (usize, usize),
        options: Options,
        random: Random,
    ) -> Self {
        Self {
            world,
            user,
            device,
            options,
            known: Known::default(),
            checkpoints: Vec::new(),
            seen: Seen::default(),
            random,
            http: Http::new(world),
        }
    }

    pub(super) fn user_id(&self) -> &str {
        &self.world.users[self.user].user_id
    }

    pub(super) fn name(&self) -> String {
        format!("u{} D{} ({})", self.user, self.device, self.options.name)
    }

    /// Syncs a few times while others act.
    pub(super) fn sync_some(&mut self) {
        for _ in 0..=self.random.below(3) {
            let timeout = if self.random.percent(30) { 50 } else { 0 };
            let is_whole = self.random.percent(5);
            let is_lost = self.random.percent(10);
            self.sync(timeout, is_whole, is_lost);
        }
    }

    /// Syncs until nothing is new.
    pub(super) fn catch_up(&mut self) {
        for _ in 0..200 {
            let answer = self.sync(0, false, false);
            let is_empty = |value: &Value| *value == json!([]) || *value == json!({});
            let has_news = ["rooms", "account_data", "to_device"]
                .iter()
                .any(|part| object(&answer[part]).any(|(_, value)| !is_empty(value)));
            if !has_news {
                return;
            }
        }
        panic!("{} receives changes without end", self.name());
    }

    /// Waits until nobody is shown as typing.
    pub(super) fn wait_for_typing_to_end(&mut self) -> bool {
        let is_over = |known: &Known| {
            known
                .rooms
                .values()
                .all(|room| room.section != "join" || room.typing.is_empty())
        };
        for _ in 0..10 {
            if is_over(&self.known) {
                return true;
            }
            self.sync(1000, false, false);
        }
        is_over(&self.known)
    }

    /// Asks once; an answer that is lost changes nothing.
    pub(super) fn sync(&mut self, timeout: u32, is_whole: bool, is_lost: bool) -> Value {
        let process = self.random.below(self.world.addresses.len());
        let mut path = format!(
            "sync?timeout={timeout}&filter={}",
            encoded(&self.options.filter.to_string())
        );
        if let Some(since) = &self.known.since {
            write!(path, "&since={since}").unwrap();
        }
        if is_whole {
            path.push_str("&full_state=true");
        }
        if self.options.habits.state_after {
            path.push_str("&use_state_after=true");
        }
        let token = self.token();
        let since = self.known.since.clone().unwrap_or_default();
        let answer = self.http.get(process, &token, &path).ok();
        let lost = if is_lost { ", lost" } else { "" };
        let news = json!({ "rooms": answer["rooms"], "to_device": answer["to_device"] });
        self.world.log.add(format!(
            "{} at {process} since {since:?} full {is_whole}{lost}: {news}",
            self.name()
        ));
        if !is_lost {
            self.fold(&answer);
        }
        answer
    }

    fn token(&self) -> String {
        self.world.users[self.user].devices[self.device]
            .token
            .clone()
    }

    fn fold(&mut self, answer: &Value) {
        self.known.fold_account(answer);
        self.known.fold_stripped(answer);
        for section in ["join", "leave"] {
            for (room_id, update) in object(&answer["rooms"][section]) {
                self.fold_room(section, room_id, update);
            }
        }
    }

    fn fold_room(&mut self, section: &str, room_id: &str, update: &Value) {
        let events = list(&update["timeline"]["events"]);
        let gap = {
            let is_first = self.known.since.is_none();
            let room = self.known.rooms.entry(room_id.to_owned()).or_default();
            let gap = room.fold(section, update, self.options.habits);
            room.is_complete |= is_first && gap.is_none();
            gap
        };
        let older = gap
            .map(|from| self.older(room_id, from))
            .unwrap_or_default();
        let room = self.known.rooms.get_mut(room_id).unwrap();
        room.timeline.extend(older);
        for event in events {
            let event_id = event_id(event).to_owned();
            let is_new = !room.timeline.contains(&event_id);
            assert!(
                is_new,
                "u{} D{} receives twice {event}",
                self.user, self.device
            );
            room.timeline.push(event_id);
        }
        let until = match section {
            "join" => None,
            _ => room
                .state
                .get(&(
                    "m.room.member".to_owned(),
                    self.world.users[self.user].user_id.clone(),
                ))
                .cloned(),
        };
        self.seen.add(room_id, update, until.as_deref());
        if section == "join"
            && let Some(last) = events.last()
        {
            self.checkpoints.push(Checkpoint {
                room_id: room_id.to_owned(),
                last: event_id(last).to_owned(),
                senders: events.iter().map(|event| text(event, "sender")).collect(),
                state: room.state.clone(),
            });
        }
    }

    /// Pages back until what the client knows already; oldest first.
    fn older(&mut self, room_id: &str, from: String) -> Vec<String> {
        let (token, mut from) = (self.token(), from);
        let filter = encoded(&self.options.filter["room"]["timeline"].to_string());
        let mut older = Vec::new();
        loop {
            let process = self.random.below(self.world.addresses.len());
            let path = format!(
                "rooms/{}/messages?dir=b&limit={PAGE}&from={from}&filter={filter}",
                encoded(room_id)
            );
            let page = self.http.get(process, &token, &path);
            let room = self.known.rooms.get_mut(room_id).unwrap();
            if page.status != 200 {
                // The room was forgotten meanwhile.
                room.has_gap = true;
                break;
            }
            self.seen.add(room_id, &page.body["chunk"], None);
            let mut events = list(&page.body["chunk"])
                .iter()
                .map(|event| event_id(event).to_owned());
            let known = &room.timeline;
            let before = older.len();
            let is_new = |event_id: &String| !known.contains(event_id);
            older.extend(events.by_ref().take_while(is_new));
            if older.len() - before < list(&page.body["chunk"]).len() {
                break;
            }
            let Some(end) = page.body["end"].as_str() else {
                room.is_complete = true;
                break;
            };
            end.clone_into(&mut from);
        }
        older.reverse();
        older
    }

    /// Asks as the client's user, at any of the processes.
    pub(super) fn get(&mut self, path: &str) -> super::super::client::Answer {
        let process = self.random.below(self.world.addresses.len());
        let token = self.token();
        self.http.get(process, &token, path)
    }
}
