//! What belongs to a user: private data, keys, messages to devices.

use serde_json::json;

use super::Actor;
use crate::process::model::world::{User, encoded};

impl Actor<'_> {
    pub(super) fn put_data(&mut self, path: &str) {
        let user_id = &self.world.users[self.user].user_id;
        let path = format!("user/{user_id}/{path}");
        let content = json!({ "number": self.world.number() });
        self.call("PUT", &path, &content);
    }

    pub(super) fn set_account_data(&mut self) {
        let number = self.random.below(3);
        self.put_data(&format!("account_data/org.example.data{number}"));
    }

    pub(super) fn set_room_data(&mut self) {
        let (room_id, number) = (self.room_id(), self.random.below(2));
        self.put_data(&format!(
            "rooms/{}/account_data/org.example.data{number}",
            encoded(&room_id)
        ));
    }

    pub(super) fn tag(&mut self) {
        let room_id = self.room_id();
        let user_id = &self.world.users[self.user].user_id;
        let tag = format!("u.tag{}", self.random.below(2));
        let path = format!("user/{user_id}/rooms/{}/tags/{tag}", encoded(&room_id));
        let method = *self.random.pick(&["PUT", "DELETE"]);
        self.call(method, &path, &json!({ "order": 0.5 }));
    }

    pub(super) fn send_to_device(&mut self) {
        let to = self.random.below(self.world.users.len());
        let device = self.random.below(self.world.users[to].devices.len());
        let is_to_all = self.random.percent(30);
        let number = self.world.number();
        let User { user_id, devices } = &self.world.users[to];
        let name = if is_to_all {
            "*"
        } else {
            &devices[device].device_id
        };
        let body = json!({ "messages": { user_id: { name: { "number": number } } } });
        let path = format!("sendToDevice/org.example.message/t{number}");
        self.call("PUT", &path, &body).unwrap();
        if self.random.percent(20) {
            self.call("PUT", &path, &body).unwrap();
        }
        let mut sent = self.world.to_device.lock().unwrap();
        for to_device in 0..devices.len() {
            if is_to_all || to_device == device {
                sent.entry((to, to_device)).or_default().push(number);
            }
        }
    }

    pub(super) fn upload_keys(&mut self) {
        let User { user_id, devices } = &self.world.users[self.user];
        let (number, device_id) = (self.world.number(), &devices[0].device_id);
        let mut body =
            json!({ "one_time_keys": { format!("signed_curve25519:{number}"): { "key": "k" } } });
        if self.random.percent(50) {
            body["device_keys"] = json!({
                "user_id": user_id, "device_id": device_id,
                "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
                "keys": { format!("ed25519:{device_id}"): number.to_string() },
            });
            self.world.new_keys.lock().unwrap().insert(self.user);
        }
        self.call("POST", "keys/upload", &body);
    }

    pub(super) fn rename(&mut self) {
        let user_id = &self.world.users[self.user].user_id;
        let name = format!("name {}", self.world.number());
        self.call(
            "PUT",
            &format!("profile/{user_id}/displayname"),
            &json!({ "displayname": name }),
        );
    }
}
