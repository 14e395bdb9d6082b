//! A user of the server, and what users do in nearly every test.

use std::ops::Deref;

use serde_json::{Value, json};

use super::{Answer, Client, encoded, since};

/// A registered user on one device.
#[derive(Clone)]
pub(crate) struct TestUser {
    pub(crate) client: Client,
    pub(crate) user_id: String,
    pub(crate) device_id: String,
}

impl Deref for TestUser {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl TestUser {
    /// What `/sync` answers without waiting: all that is committed by now is in it.
    pub(crate) async fn sync(&self, query: &str) -> Value {
        self.get(&format!("/_matrix/client/v3/sync?{query}"))
            .await
            .ok()
    }

    /// Where the next sync goes on from now: `since=…`.
    pub(crate) async fn since(&self) -> String {
        since(&self.sync("").await)
    }

    /// Creates a room and gives its id.
    pub(crate) async fn create_room(&self, body: Value) -> String {
        let answer = self.post("/_matrix/client/v3/createRoom", body).await.ok();
        answer["room_id"].as_str().unwrap().to_owned()
    }

    /// Calls an endpoint of a room: `self.room(room_id, "invite")`.
    pub(crate) async fn room(&self, room_id: &str, action: &str, body: Value) -> Answer {
        self.post(
            &format!("/_matrix/client/v3/rooms/{room_id}/{action}"),
            body,
        )
        .await
    }

    pub(crate) async fn join(&self, room_id: &str) -> Answer {
        self.post(
            &format!("/_matrix/client/v3/join/{}", encoded(room_id)),
            json!({}),
        )
        .await
    }

    pub(crate) async fn invite(&self, room_id: &str, invitee: &Self) -> Answer {
        self.room(room_id, "invite", json!({ "user_id": invitee.user_id }))
            .await
    }

    pub(crate) async fn leave(&self, room_id: &str) -> Answer {
        self.room(room_id, "leave", json!({})).await
    }

    /// Sends an event and gives its id; `transaction` must be new.
    pub(crate) async fn send(&self, room_id: &str, transaction: &str, body: Value) -> String {
        let path = format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message/{transaction}");
        let answer = self.put(&path, body).await.ok();
        answer["event_id"].as_str().unwrap().to_owned()
    }

    /// Sends a text message and gives its event id.
    pub(crate) async fn send_text(&self, room_id: &str, text: &str) -> String {
        let transaction = encoded(text);
        self.send(
            room_id,
            &transaction,
            json!({ "msgtype": "m.text", "body": text }),
        )
        .await
    }

    pub(crate) async fn set_state(
        &self,
        room_id: &str,
        event_type: &str,
        state_key: &str,
        content: Value,
    ) -> Answer {
        let state_key = encoded(state_key);
        let path = format!("/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}");
        self.put(&path, content).await
    }

    pub(crate) async fn state(&self, room_id: &str, event_type: &str, state_key: &str) -> Answer {
        let state_key = encoded(state_key);
        self.get(&format!(
            "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}"
        ))
        .await
    }

    pub(crate) async fn event(&self, room_id: &str, event_id: &str) -> Answer {
        self.get(&format!(
            "/_matrix/client/v3/rooms/{room_id}/event/{event_id}"
        ))
        .await
    }

    /// The user's membership, as the room's state has it.
    pub(crate) async fn membership(&self, room_id: &str, of: &Self) -> Value {
        self.state(room_id, "m.room.member", &of.user_id).await.ok()["membership"].take()
    }
}
