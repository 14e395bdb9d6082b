//! A user who does things at random.

mod account;
mod events;
mod members;

use serde_json::{Value, json};

use super::{
    random::Random,
    world::{Http, OWNER, World},
};

/// A user who acts.
pub(super) struct Actor<'a> {
    world: &'a World,
    user: usize,
    random: Random,
    http: Http,
    types_in: Vec<String>,
}

type Action<'a> = fn(&mut Actor<'a>);

impl<'a> Actor<'a> {
    pub(super) fn new(world: &'a World, user: usize, random: Random) -> Self {
        Self {
            world,
            user,
            random,
            http: Http::new(world),
            types_in: Vec::new(),
        }
    }

    /// What a user does at random, and how often in comparison.
    fn choices() -> [(usize, Action<'a>); 23] {
        [
            (24, Self::send),
            (6, Self::react),
            (8, Self::set_state),
            (4, Self::set_history_visibility),
            (2, Self::set_join_rule),
            (14, Self::join),
            (5, Self::leave),
            (8, Self::invite),
            (5, Self::kick),
            (4, Self::ban),
            (5, Self::unban),
            (3, Self::knock),
            (2, Self::forget),
            (8, Self::redact),
            (7, Self::read),
            (3, Self::set_markers),
            (7, Self::type_or_stop),
            (4, Self::set_account_data),
            (4, Self::set_room_data),
            (3, Self::tag),
            (10, Self::send_to_device),
            (3, Self::upload_keys),
            (1, Self::rename),
        ]
    }

    /// Does one thing at random.
    pub(super) fn act(&mut self) {
        let choices = Self::choices();
        let all = choices.iter().map(|(weight, _)| weight).sum();
        let mut number = self.random.below(all);
        for (weight, action) in choices {
            if number < weight {
                return action(self);
            }
            number -= weight;
        }
    }

    /// Stops typing everywhere.
    pub(super) fn stop_typing(&mut self) {
        for room_id in std::mem::take(&mut self.types_in) {
            self.set_typing(&room_id, false);
        }
    }

    /// Creates a room with one of the settings that matter.
    pub(super) fn create_room(&mut self) {
        let visibility = *self
            .random
            .pick(&["joined", "invited", "shared", "world_readable"]);
        let join_rule = *self.random.pick(&["public", "public", "invite", "knock"]);
        let version = *self.random.pick(&["10", "11", "12"]);
        let moderator = &self.world.users[1].user_id;
        let body = json!({
            "room_version": version,
            "initial_state": [
                { "type": "m.room.history_visibility", "content": { "history_visibility": visibility } },
                { "type": "m.room.join_rules", "content": { "join_rule": join_rule } },
            ],
            "power_level_content_override": {
                "invite": 0, "events": { "m.room.topic": 0, "org.example.state": 0 },
                "users": if version == "12" {
                    json!({ moderator: 50 })
                } else {
                    json!({ moderator: 50, &self.world.users[OWNER].user_id: 100 })
                },
            },
        });
        let answer = self.call("POST", "createRoom", &body).unwrap();
        let room_id = answer["room_id"].as_str().unwrap().to_owned();
        self.world.rooms.lock().unwrap().push(room_id);
    }

    /// Calls at any of the processes; none if it is refused.
    fn call(&mut self, method: &str, path: &str, body: &Value) -> Option<Value> {
        let process = self.random.below(self.world.addresses.len());
        let token = &self.world.users[self.user].devices[0].token;
        let answer = self.http.call(process, token, method, path, body);
        self.world.log.add(format!(
            "u{} at {process}: {method} {path} {body} -> {} {}",
            self.user, answer.status, answer.body
        ));
        assert!(
            [200, 400, 403, 404, 409].contains(&answer.status),
            "{method} {path}: {}",
            answer.status
        );
        (answer.status == 200).then_some(answer.body)
    }

    fn room_id(&mut self) -> String {
        let rooms = self.world.rooms.lock().unwrap();
        self.random.pick(&rooms).clone()
    }

    fn user_id(&mut self) -> String {
        self.random.pick(&self.world.users).user_id.clone()
    }

    /// An event that was sent before, with its room.
    fn event(&mut self) -> Option<(String, String)> {
        let events = self.world.events.lock().unwrap();
        // Old ones now and then.
        let newest = if self.random.percent(60) {
            20
        } else {
            events.len()
        };
        let newest = &events[events.len().saturating_sub(newest)..];
        (!newest.is_empty()).then(|| self.random.pick(newest).clone())
    }
}
