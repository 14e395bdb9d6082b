//! Devices of users of two servers: messages between them, and their keys.

use serde_json::{Value, json};
use testkit::TestCa;

use super::{
    client::Client,
    federation_joins::{Side, pair},
    syncing::Syncing,
};

impl Syncing {
    /// Waits until `/sync` names the user in a list of `device_lists`.
    fn until_listed(&mut self, side: &Side, list: &str, user: &Side) {
        loop {
            let answer = self.next(side);
            let listed = answer["device_lists"][list].as_array();
            if listed.is_some_and(|users| users.contains(&json!(user.user.user_id))) {
                return;
            }
        }
    }

    /// The numbers in the next messages for the device, as many as are asked for.
    fn messages(&mut self, side: &Side, count: usize) -> Vec<u64> {
        let mut found = Vec::new();
        while found.len() < count {
            let answer = self.next(side);
            let events = answer["to_device"]["events"].as_array();
            let numbers = events.into_iter().flatten();
            found.extend(numbers.map(|event| event["content"]["n"].as_u64().unwrap()));
        }
        found
    }
}

fn send(from: &Side, to: &Side, device: &str, number: u64) {
    let path = format!("sendToDevice/m.test/txn{number}");
    let body = json!({ "messages": { &to.user.user_id: { device: { "n": number } } } });
    from.ok("PUT", &path, &body);
}

#[test]
fn to_device_messages_arrive_once_and_in_order_though_both_servers_are_restarted() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let device = bob.user.device_id.clone();
    let mut at_bob = Syncing::from(&bob);
    for number in 0..5 {
        send(&alice, &bob, &device, number);
    }
    assert_eq!(at_bob.messages(&bob, 5), [0, 1, 2, 3, 4]);

    let bob = bob.stop();
    for number in 5..10 {
        let path = format!("sendToDevice/m.test/txn{number}");
        let body = json!({ "messages": { &bob.user.user_id: { "*": { "n": number } } } });
        alice.ok("PUT", &path, &body);
        // What the client repeats is sent once.
        alice.ok("PUT", &path, &body);
    }
    let alice = alice.kill().start(&ca);
    let bob = bob.start(&ca);
    assert_eq!(at_bob.messages(&bob, 5), [5, 6, 7, 8, 9]);
    send(&alice, &bob, &device, 10);
    assert_eq!(at_bob.messages(&bob, 1), [10]);
    alice.server.terminate();
    bob.server.terminate();
}

/// Uploads identity keys of the user's device.
fn upload(side: &Side, user: &Client, key: &str) {
    let device_id = &user.device_id;
    let keys = json!({ "device_keys": {
        "user_id": user.user_id, "device_id": device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": { format!("curve25519:{device_id}"): key },
    } });
    user.ok(&side.server.clients(), "POST", "keys/upload", &keys);
}

/// The keys of a user's devices, which the user's server must have been able to tell.
fn query(by: &Side, of: &Client) -> Value {
    let body = json!({ "device_keys": { &of.user_id: [] } });
    let found = by.ok("POST", "keys/query", &body);
    assert_eq!(found.get("failures").unwrap_or(&json!({})), &json!({}));
    found["device_keys"][&of.user_id].clone()
}

fn key_of(keys: &Value, user: &Client) -> Value {
    let device_id = &user.device_id;
    keys[device_id]["keys"][format!("curve25519:{device_id}")].clone()
}

#[test]
fn changes_of_devices_are_told_to_the_other_server_and_caught_up_with_after_an_outage() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let room_id = bob.create(&json!({ "preset": "public_chat" }));
    let mut at_alice = Syncing::from(&alice);
    let mut at_bob = Syncing::from(&bob);
    assert_eq!(alice.join(&room_id, &bob).0, 200);
    at_alice.until_listed(&alice, "changed", &bob);
    at_bob.until_listed(&bob, "changed", &alice);
    assert_eq!(query(&alice, &bob.user), json!({}));

    upload(&bob, &bob.user, "one");
    at_alice.until_listed(&alice, "changed", &bob);
    assert_eq!(key_of(&query(&alice, &bob.user), &bob.user), "one");

    let path = format!("devices/{}", bob.user.device_id);
    bob.ok("PUT", &path, &json!({ "display_name": "A phone" }));
    at_alice.until_listed(&alice, "changed", &bob);
    let name = &query(&alice, &bob.user)[&bob.user.device_id]["unsigned"]["device_display_name"];
    assert_eq!(*name, "A phone");

    // The other server is away and misses more than is sent to it later.
    let alice = alice.stop();
    let laptop = Client::login(&bob.server.clients(), "bob");
    upload(&bob, &laptop, "two");
    upload(&bob, &bob.user, "three");
    let alice = alice.start(&ca);
    at_alice.until_listed(&alice, "changed", &bob);
    let known = |keys: &Value| (key_of(keys, &bob.user), key_of(keys, &laptop));
    // The changes may come in several transactions; clients are told of each.
    while known(&query(&alice, &bob.user)) != (json!("three"), json!("two")) {
        at_alice.until_listed(&alice, "changed", &bob);
    }
    laptop.ok(&bob.server.clients(), "POST", "logout", &json!({}));
    while known(&query(&alice, &bob.user)) != (json!("three"), Value::Null) {
        at_alice.until_listed(&alice, "changed", &bob);
    }

    alice.ok("POST", &format!("rooms/{room_id}/leave"), &json!({}));
    at_alice.until_listed(&alice, "left", &bob);
    at_bob.until_listed(&bob, "left", &alice);
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn one_time_keys_of_another_server_are_claimed_once_each() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let keys = json!({ "one_time_keys": {
        "signed_curve25519:A": { "key": "a" }, "signed_curve25519:B": { "key": "b" },
    } });
    bob.ok("POST", "keys/upload", &keys);
    let device = json!({ &bob.user.device_id: "signed_curve25519" });
    let body = json!({ "one_time_keys": { &bob.user.user_id: device } });
    let claim = || {
        let claimed = alice.ok("POST", "keys/claim", &body);
        assert_eq!(claimed.get("failures").unwrap_or(&json!({})), &json!({}));
        claimed["one_time_keys"][&bob.user.user_id][&bob.user.device_id].clone()
    };
    let claimed = [claim(), claim()];
    for key in keys["one_time_keys"].as_object().unwrap() {
        let key = json!({ key.0: key.1 });
        assert!(claimed.contains(&key), "{claimed:?}");
    }
    assert_eq!(claim(), Value::Null);

    // Only who cannot be reached has failed.
    let nobody = "@nobody:127.0.0.4:1";
    let body = json!({ "timeout": 5000, "one_time_keys": {
        &bob.user.user_id: device, nobody: { "D": "signed_curve25519" },
    } });
    let claimed = alice.ok("POST", "keys/claim", &body);
    let failed: Vec<_> = claimed["failures"].as_object().unwrap().keys().collect();
    assert_eq!(failed, ["127.0.0.4:1"]);
    let body = json!({ "timeout": 5000, "device_keys": { &bob.user.user_id: [], nobody: [] } });
    let found = alice.ok("POST", "keys/query", &body);
    let failed: Vec<_> = found["failures"].as_object().unwrap().keys().collect();
    assert_eq!(failed, ["127.0.0.4:1"]);
    assert_eq!(found["device_keys"][&bob.user.user_id], json!({}));
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn typing_users_are_shown_at_the_other_server_until_they_stop_or_time_is_over() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let room_id = bob.create(&json!({ "preset": "public_chat" }));
    assert_eq!(alice.join(&room_id, &bob).0, 200);
    let mut at_alice = Syncing::from(&alice);
    let mut typing = |expected: Value| loop {
        let answer = at_alice.next(&alice);
        let events = answer["rooms"]["join"][&room_id]["ephemeral"]["events"].as_array();
        let mut events = events.into_iter().flatten();
        let typing = events.find(|event| event["type"] == "m.typing");
        if typing.is_some_and(|event| event["content"]["user_ids"] == expected) {
            return;
        }
    };
    let path = format!("rooms/{room_id}/typing/{}", bob.user.user_id);
    bob.ok("PUT", &path, &json!({ "typing": true, "timeout": 30_000 }));
    typing(json!([bob.user.user_id]));
    bob.ok("PUT", &path, &json!({ "typing": false }));
    typing(json!([]));
    bob.ok("PUT", &path, &json!({ "typing": true, "timeout": 2000 }));
    typing(json!([bob.user.user_id]));
    typing(json!([]));
    alice.server.terminate();
    bob.server.terminate();
}
