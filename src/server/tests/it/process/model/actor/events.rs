//! What a user does in a room: messages, state, redactions, receipts, typing.

use serde_json::{Value, json};

use super::Actor;
use crate::process::model::world::encoded;

impl Actor<'_> {
    pub(super) fn send_event(&mut self, room_id: &str, event_type: &str, content: &Value) {
        let transaction = self.world.number();
        let path = format!(
            "rooms/{}/send/{event_type}/t{transaction}",
            encoded(room_id)
        );
        let Some(answer) = self.call("PUT", &path, content) else {
            return;
        };
        if self.random.percent(10) {
            // The answer was lost: the client tries again.
            let again = self.call("PUT", &path, content);
            assert!(
                again.is_none_or(|again| again == answer),
                "a transaction made two events"
            );
        }
        let event_id = answer["event_id"].as_str().unwrap().to_owned();
        self.world
            .events
            .lock()
            .unwrap()
            .push((room_id.to_owned(), event_id));
    }

    pub(super) fn send(&mut self) {
        let room_id = self.room_id();
        let mut body = format!("message {}", self.world.number());
        if self.random.percent(10) {
            body = format!("{body} for {}", self.user_id());
        }
        let msgtype = *self.random.pick(&["m.text", "m.text", "m.notice"]);
        self.send_event(
            &room_id,
            "m.room.message",
            &json!({ "msgtype": msgtype, "body": body }),
        );
    }

    pub(super) fn react(&mut self) {
        let Some((room_id, event_id)) = self.event() else {
            return;
        };
        let (event_type, relation) = if self.random.percent(50) {
            let key = self.world.number().to_string();
            (
                "m.reaction",
                json!({ "rel_type": "m.annotation", "event_id": event_id, "key": key }),
            )
        } else {
            (
                "m.room.message",
                json!({ "rel_type": "m.thread", "event_id": event_id }),
            )
        };
        let body = format!("relation {}", self.world.number());
        let content = json!({ "msgtype": "m.text", "body": body, "m.relates_to": relation });
        self.send_event(&room_id, event_type, &content);
    }

    pub(super) fn put_state(
        &mut self,
        room_id: &str,
        event_type: &str,
        state_key: &str,
        content: &Value,
    ) {
        let path = format!("rooms/{}/state/{event_type}/{state_key}", encoded(room_id));
        if let Some(answer) = self.call("PUT", &path, content) {
            let event_id = answer["event_id"].as_str().unwrap().to_owned();
            self.world
                .events
                .lock()
                .unwrap()
                .push((room_id.to_owned(), event_id));
        }
    }

    pub(super) fn set_state(&mut self) {
        let room_id = self.room_id();
        let number = self.world.number();
        if self.random.percent(50) {
            let content = json!({ "topic": format!("topic {number}") });
            return self.put_state(&room_id, "m.room.topic", "", &content);
        }
        let state_key = format!("key{}", self.random.below(3));
        self.put_state(
            &room_id,
            "org.example.state",
            &state_key,
            &json!({ "number": number }),
        );
    }

    pub(super) fn set_history_visibility(&mut self) {
        let room_id = self.room_id();
        let visibility = *self
            .random
            .pick(&["joined", "invited", "shared", "world_readable"]);
        let content = json!({ "history_visibility": visibility });
        self.put_state(&room_id, "m.room.history_visibility", "", &content);
    }

    pub(super) fn set_join_rule(&mut self) {
        let room_id = self.room_id();
        let join_rule = *self.random.pick(&["public", "public", "invite", "knock"]);
        self.put_state(
            &room_id,
            "m.room.join_rules",
            "",
            &json!({ "join_rule": join_rule }),
        );
    }

    pub(super) fn redact(&mut self) {
        let Some((room_id, event_id)) = self.event() else {
            return;
        };
        let number = self.world.number();
        let path = format!("rooms/{}/redact/{event_id}/r{number}", encoded(&room_id));
        self.call(
            "PUT",
            &path,
            &json!({ "reason": format!("reason {number}") }),
        );
    }

    pub(super) fn read(&mut self) {
        let Some((room_id, event_id)) = self.event() else {
            return;
        };
        let receipt = *self.random.pick(&["m.read", "m.read", "m.read.private"]);
        let body = match self.random.below(3) {
            0 => json!({ "thread_id": "main" }),
            _ => json!({}),
        };
        self.member(&room_id, &format!("receipt/{receipt}/{event_id}"), &body);
    }

    pub(super) fn set_markers(&mut self) {
        if let Some((room_id, event_id)) = self.event() {
            let body = json!({ "m.fully_read": event_id, "m.read": event_id });
            self.member(&room_id, "read_markers", &body);
        }
    }

    pub(super) fn type_or_stop(&mut self) {
        let room_id = self.room_id();
        let types = self.random.percent(70);
        if types {
            self.types_in.push(room_id.clone());
        }
        self.set_typing(&room_id, types);
    }

    pub(super) fn set_typing(&mut self, room_id: &str, types: bool) {
        let user_id = &self.world.users[self.user].user_id;
        let path = format!("rooms/{}/typing/{user_id}", encoded(room_id));
        self.call(
            "PUT",
            &path,
            &json!({ "typing": types, "timeout": 600_000 }),
        );
    }
}
