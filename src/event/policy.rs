//! Policy servers: a room's choice of a server that recommends events.
//!
//! Spec: server-server, "Policy Servers". The last check of a received event: one that is not
//! recommended is soft-failed. Called when events of other servers are received.

use ruma::{
    OwnedServerName, ServerName, SigningKeyAlgorithm, UserId,
    events::room::{member::MembershipState, policy::POLICY_SERVER_ED25519_SIGNING_KEY_ID},
    signatures::verify_canonical_json_bytes,
};
use serde::Deserialize;

use crate::{Pdu, RoomVersion, SignatureError, State, sign::decode};

/// The policy server of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyServer {
    server_name: OwnedServerName,
    public_key_base64: String,
}

#[derive(Deserialize)]
struct Content {
    via: OwnedServerName,
    public_keys: PublicKeys,
}

#[derive(Deserialize)]
struct PublicKeys {
    ed25519: String,
}

impl PolicyServer {
    /// The policy server that a state names, if it is valid and one of its users is in the room.
    ///
    /// Visits members until there is one of that server.
    pub fn of(state: &State) -> Option<Self> {
        let content: Content = state.get("m.room.policy", "")?.content_as().ok()?;
        let is_its_member = |event: &Pdu| {
            let user_id = event.state_key().map(<&UserId>::try_from);
            event.membership() == Some(MembershipState::Join)
                && user_id.is_some_and(|id| id.is_ok_and(|id| id.server_name() == content.via))
        };
        let mut members = state.of_type("m.room.member");
        members.any(|event| is_its_member(event)).then_some(Self {
            server_name: content.via,
            public_key_base64: content.public_keys.ed25519,
        })
    }

    /// The server to ask for its signature.
    pub fn server_name(&self) -> &ServerName {
        &self.server_name
    }

    /// Checks that the server recommends an event: its signature, which the event that names the
    /// policy server does not need.
    pub fn check(&self, event: &Pdu, version: &RoomVersion) -> Result<(), SignatureError> {
        if event.event_type() == "m.room.policy" && event.state_key() == Some("") {
            return Ok(());
        }
        let unreadable = |error: crate::FormatError| SignatureError::Unreadable(error.to_string());
        let tree = event.tree().map_err(unreadable)?;
        let signature = tree.object().get("signatures").and_then(|signatures| {
            let of_server = signatures.as_object()?.get(self.server_name.as_str())?;
            let of_server = of_server.as_object()?;
            of_server
                .get(POLICY_SERVER_ED25519_SIGNING_KEY_ID)?
                .as_str()
        });
        let signature = signature.ok_or_else(|| SignatureError::Missing {
            entity: self.server_name.to_string(),
            key_id: POLICY_SERVER_ED25519_SIGNING_KEY_ID.to_owned(),
        })?;
        let signed = tree.signed_text(version).map_err(unreadable)?;
        verify_canonical_json_bytes(
            &SigningKeyAlgorithm::Ed25519,
            &decode(&self.public_key_base64)?,
            &decode(signature)?,
            signed.as_bytes(),
        )
        .map_err(SignatureError::Mismatch)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixture::{ALICE, Room, signer};

    const POLICY: &str = "@policy:policy.org";

    fn room(content: &Value) -> Room {
        let mut room = Room::new("11");
        room.set(ALICE, "m.room.policy", "", content.clone())
            .unwrap();
        room
    }

    fn content() -> Value {
        let key = signer("policy.org").public_key_base64();
        json!({"via": "policy.org", "public_keys": {"ed25519": key}})
    }

    /// The event with a signature of the policy server.
    fn signed(event: &Pdu, version: &RoomVersion) -> Pdu {
        let text = event.tree().unwrap().signed_text(version).unwrap();
        let signature = signer("policy.org").sign_text(&text);
        let mut json: Value = serde_json::from_str(event.json()).unwrap();
        json["signatures"]["policy.org"] = json!({"ed25519:policy_server": signature});
        Pdu::parse(&json.to_string(), version).unwrap()
    }

    #[test]
    fn a_room_uses_a_policy_server_that_is_valid_and_in_it() {
        let mut room = room(&content());
        assert_eq!(PolicyServer::of(&room.state), None);
        room.join("@other:else.org").unwrap();
        assert_eq!(PolicyServer::of(&room.state), None);
        room.join(POLICY).unwrap();
        let policy = PolicyServer::of(&room.state).unwrap();
        assert_eq!(policy.server_name(), "policy.org");
        room.member(POLICY, POLICY, "leave").unwrap();
        assert_eq!(PolicyServer::of(&room.state), None);
    }

    #[test]
    fn malformed_content_names_no_policy_server() {
        for content in [
            json!({}),
            json!({"via": "policy.org"}),
            json!({"via": "policy.org", "public_keys": {}}),
            json!({"via": "policy.org", "public_keys": {"ed25519": 1}}),
            json!({"via": 5, "public_keys": {"ed25519": "a"}}),
        ] {
            let mut room = room(&content);
            room.join(POLICY).unwrap();
            assert_eq!(PolicyServer::of(&room.state), None, "{content}");
        }
    }

    #[test]
    fn events_need_its_signature_except_the_one_that_names_it() {
        let mut room = room(&content());
        room.join(POLICY).unwrap();
        let version = room.version.clone();
        let policy = PolicyServer::of(&room.state).unwrap();
        let event = room.message(ALICE).unwrap();
        assert!(policy.check(&event, &version).is_err());
        let good = signed(&event, &version);
        policy.check(&good, &version).unwrap();
        let moved = good.json().replace("\"depth\":7", "\"depth\":8");
        assert_ne!(moved, good.json());
        let moved = Pdu::parse(&moved, &version).unwrap();
        assert!(policy.check(&moved, &version).is_err());
        let named = room.state.get("m.room.policy", "").unwrap();
        policy.check(named, &version).unwrap();
        let other = room.set(ALICE, "m.room.policy", "x", content()).unwrap();
        assert!(policy.check(&other, &version).is_err());
    }
}
