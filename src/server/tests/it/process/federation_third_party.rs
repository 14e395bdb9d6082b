//! Invitations by addresses: an identity server tells to whom an address belongs.

use event::Signer;
use ruma::CanonicalJsonObject;
use serde_json::{Value, json};
use testkit::TestCa;

use super::{
    client::Client,
    federation_joins::{Side, pair},
    http,
};

/// An identity server, as far as it signs.
struct Identity(Signer);

impl Identity {
    fn new() -> Self {
        let (signer, _) = Signer::generate("id.example.org".try_into().unwrap()).unwrap();
        Self(signer)
    }

    /// Invites the owner of an address, as the inviting user's client would.
    fn invite(&self, side: &Side, room_id: &str, token: &str) {
        let key = json!({
            "public_key": self.0.public_key_base64(),
            "key_validity_url": "https://id.example.org/valid",
        });
        let content = json!({
            "display_name": "b...@example.org", "public_keys": [key],
            "public_key": key["public_key"], "key_validity_url": key["key_validity_url"],
        });
        let path = format!("rooms/{room_id}/state/m.room.third_party_invite/{token}");
        side.ok("PUT", &path, &content);
    }

    /// Tells a user's server that the address is the user's.
    fn bind(
        &self,
        (side, mxid): (&Side, &str),
        sender: &Side,
        room_id: &str,
        token: &str,
    ) -> (u16, Value) {
        let signed = json!({ "mxid": mxid, "token": token });
        let mut signed: CanonicalJsonObject = serde_json::from_value(signed).unwrap();
        self.0.sign_json(&mut signed).unwrap();
        let address = "bob@example.org";
        let invite = json!({
            "medium": "email", "address": address, "mxid": mxid, "room_id": room_id,
            "sender": sender.user.user_id, "signed": signed,
        });
        let bound = json!({
            "medium": "email", "address": address, "mxid": mxid, "invites": [invite],
        });
        let path = "/_matrix/federation/v1/3pid/onbind";
        let (status, body) = http::put(&side.server.clients(), path, &bound.to_string());
        (status, serde_json::from_str(&body).unwrap())
    }
}

fn is_invited(side: &Side, user: &Client, room_id: &str) -> bool {
    let server = side.server.clients();
    let rooms = user.ok(&server, "GET", "sync?timeout=0", &Value::Null);
    rooms["rooms"]["invite"][room_id].is_object()
}

#[test]
fn the_owner_of_an_invited_address_is_invited_once_it_is_known() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let (identity, stranger) = (Identity::new(), Identity::new());
    let owner = (&bob, bob.user.user_id.as_str());
    for version in ["6", "12"] {
        let room_id = alice.create(&json!({
            "preset": "private_chat", "room_version": version, "name": "Tea",
        }));
        identity.invite(&alice, &room_id, "token");
        // Another identity server, another token: nobody is invited.
        assert_ne!(stranger.bind(owner, &alice, &room_id, "token").0, 200);
        assert_ne!(identity.bind(owner, &alice, &room_id, "other").0, 200);
        assert!(!is_invited(&bob, &bob.user, &room_id));

        let (status, body) = identity.bind(owner, &alice, &room_id, "token");
        assert_eq!(status, 200, "version {version}: {body}");
        assert!(is_invited(&bob, &bob.user, &room_id), "version {version}");
        let member = alice.state(&room_id, "m.room.member", &bob.user.user_id);
        let invite = &member["third_party_invite"];
        assert_eq!(invite["display_name"], "b...@example.org");
        assert_eq!(invite["signed"]["token"], "token");
        bob.ok("POST", &format!("rooms/{room_id}/join"), &json!({}));
        assert_eq!(alice.membership(&room_id, &bob), "join");
    }
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn users_of_servers_that_are_in_the_room_are_invited_too() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let room_id = bob.create(&json!({ "preset": "public_chat" }));
    assert_eq!(alice.join(&room_id, &bob).0, 200);
    let identity = Identity::new();
    for (side, token) in [(&alice, "one"), (&bob, "two")] {
        let carol = Client::register(&side.server.clients(), "carol");
        identity.invite(&bob, &room_id, token);
        let (status, body) = identity.bind((side, &carol.user_id), &bob, &room_id, token);
        assert_eq!(status, 200, "{body}");
        let server = side.server.clients();
        let mut path = "sync?timeout=0".to_owned();
        loop {
            let answer = carol.ok(&server, "GET", &path, &Value::Null);
            if answer["rooms"]["invite"][&room_id].is_object() {
                break;
            }
            let since = answer["next_batch"].as_str().unwrap();
            path = format!("sync?since={since}&timeout=60000");
        }
    }
    alice.server.terminate();
    bob.server.terminate();
}
