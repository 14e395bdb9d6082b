//! Presence of users of two servers.

use serde_json::{Value, json};
use testkit::TestCa;

use super::federation_joins::{Side, pair};

/// A client that waits for presence by `/sync`.
struct Waiting<'s> {
    side: &'s Side,
    since: String,
}

impl<'s> Waiting<'s> {
    fn on(side: &'s Side) -> Self {
        let answer = side.ok("GET", "sync?timeout=0", &Value::Null);
        let since = answer["next_batch"].as_str().unwrap().to_owned();
        Self { side, since }
    }

    /// Waits until a user is told of as this.
    fn until(&mut self, of: &Side, presence: &str, status_msg: Option<&str>) {
        loop {
            let path = format!("sync?since={}&timeout=60000", self.since);
            let answer = self.side.ok("GET", &path, &Value::Null);
            answer["next_batch"]
                .as_str()
                .unwrap()
                .clone_into(&mut self.since);
            let events = answer["presence"]["events"].as_array();
            let is_it = |event: &&Value| {
                let content = &event["content"];
                event["sender"] == of.user.user_id.as_str()
                    && content["presence"] == presence
                    && content["status_msg"].as_str() == status_msg
            };
            if events.into_iter().flatten().find(is_it).is_some() {
                return;
            }
        }
    }
}

fn set(side: &Side, body: &Value) {
    let path = format!("presence/{}/status", side.user.user_id);
    side.ok("PUT", &path, body);
}

#[test]
fn presence_reaches_the_other_server() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let room_id = bob.create(&json!({ "preset": "public_chat" }));
    let mut at_bob = Waiting::on(&bob);
    set(
        &bob,
        &json!({ "presence": "online", "status_msg": "at work" }),
    );
    at_bob.until(&bob, "online", Some("at work"));
    let mut at_alice = Waiting::on(&alice);
    // Bob's server tells Alice's of him while she is joining: perhaps before her server knows the room.
    assert_eq!(alice.join(&room_id, &bob).0, 200);
    at_bob.until(&alice, "online", None);
    at_alice.until(&bob, "online", Some("at work"));
    let status = json!({ "presence": "unavailable", "status_msg": "at lunch" });
    set(&alice, &status);
    at_bob.until(&alice, "unavailable", Some("at lunch"));
    let path = format!("presence/{}/status", alice.user.user_id);
    let told = bob.ok("GET", &path, &Value::Null);
    assert_eq!(told["presence"], "unavailable");
    assert!(told["last_active_ago"].is_u64(), "{told}");
    set(&bob, &json!({ "presence": "offline" }));
    at_alice.until(&bob, "offline", None);
    alice.server.terminate();
    bob.server.terminate();
}
