//! Coming and going.

use serde_json::{Value, json};

use super::Actor;
use crate::process::model::world::{OWNER, encoded};

impl Actor<'_> {
    pub(super) fn member(&mut self, room_id: &str, action: &str, body: &Value) {
        self.call(
            "POST",
            &format!("rooms/{}/{action}", encoded(room_id)),
            body,
        );
    }

    pub(super) fn join(&mut self) {
        let room_id = self.room_id();
        self.member(&room_id, "join", &json!({}));
    }

    pub(super) fn leave(&mut self) {
        let room_id = self.room_id();
        // The owner stays.
        if self.user != OWNER {
            self.member(&room_id, "leave", &json!({}));
        }
    }

    pub(super) fn other(&mut self, action: &str) {
        let (room_id, user_id) = (self.room_id(), self.user_id());
        if user_id != self.world.users[OWNER].user_id {
            let reason = format!("reason {}", self.world.number());
            self.member(
                &room_id,
                action,
                &json!({ "user_id": user_id, "reason": reason }),
            );
        }
    }

    pub(super) fn invite(&mut self) {
        self.other("invite");
    }

    pub(super) fn kick(&mut self) {
        self.other("kick");
    }

    pub(super) fn ban(&mut self) {
        self.other("ban");
    }

    pub(super) fn unban(&mut self) {
        self.other("unban");
    }

    pub(super) fn knock(&mut self) {
        let room_id = self.room_id();
        self.call("POST", &format!("knock/{}", encoded(&room_id)), &json!({}));
    }

    pub(super) fn forget(&mut self) {
        let room_id = self.room_id();
        if self.user == OWNER {
            return;
        }
        let path = format!("rooms/{}/forget", encoded(&room_id));
        if self.call("POST", &path, &json!({})).is_some() {
            self.world
                .forgotten
                .lock()
                .unwrap()
                .insert((self.user, room_id));
        }
    }
}
