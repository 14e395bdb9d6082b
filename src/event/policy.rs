//! Policy servers: a room's choice of a server that recommends events.
//!
//! Spec: server-server, "Policy Servers". An event that is not recommended is soft-failed when it is
//! received, and is not sent.

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedServerName, ServerName, SigningKeyAlgorithm,
    events::room::policy::POLICY_SERVER_ED25519_SIGNING_KEY_ID,
    signatures::verify_canonical_json_bytes,
};
use serde::Deserialize;

use crate::{FormatError, MAX_EVENT_BYTES, Pdu, RoomVersion, SignatureError, format, sign::decode};

const POLICY: &str = "m.room.policy";

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
    /// The policy server that the room's `m.room.policy` event names, if that is valid and one of the
    /// server's users is in the room.
    pub fn of(event: &Pdu, is_in_room: impl FnOnce(&ServerName) -> bool) -> Option<Self> {
        let content: Content = event.content_as().ok()?;
        is_in_room(&content.via).then_some(Self {
            server_name: content.via,
            public_key_base64: content.public_keys.ed25519,
        })
    }

    /// Whether an event needs the signature of a policy server: all but the one that names it do.
    pub fn must_sign(event: &Pdu) -> bool {
        event.event_type() != POLICY || event.state_key() != Some("")
    }

    /// The server to ask for its signature.
    pub fn server_name(&self) -> &ServerName {
        &self.server_name
    }

    /// Checks that the server recommends an event, by its signature.
    pub fn check(&self, event: &Pdu, version: &RoomVersion) -> Result<(), SignatureError> {
        if !Self::must_sign(event) {
            return Ok(());
        }
        let unreadable = |error: FormatError| SignatureError::Unreadable(error.to_string());
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

    /// Adds the server's signature to an event. [`check`](Self::check) says whether it holds.
    pub fn with_signature(&self, event: &Pdu, signature: &str) -> Result<Pdu, FormatError> {
        fn object<'o>(
            parent: &'o mut CanonicalJsonObject,
            key: &str,
        ) -> Option<&'o mut CanonicalJsonObject> {
            let empty = || CanonicalJsonValue::Object(CanonicalJsonObject::new());
            match parent.entry(key.to_owned()).or_insert_with(empty) {
                CanonicalJsonValue::Object(object) => Some(object),
                _ => None,
            }
        }
        let mut tree = event.tree()?;
        let of_server = object(tree.object_mut(), "signatures")
            .and_then(|signatures| object(signatures, self.server_name.as_str()));
        let of_server = of_server.ok_or_else(|| FormatError::malformed("`signatures`"))?;
        of_server.insert(
            POLICY_SERVER_ED25519_SIGNING_KEY_ID.to_owned(),
            CanonicalJsonValue::String(signature.to_owned()),
        );
        let json = tree.text()?;
        format::limit("event", json.len(), MAX_EVENT_BYTES)?;
        event.with_text(json.into_boxed_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixture::{ALICE, Room, signer};

    fn policy_server(content: &Value) -> Option<PolicyServer> {
        let mut room = Room::new("11");
        let event = room.set(ALICE, POLICY, "", content.clone()).unwrap();
        PolicyServer::of(&event, |server| server.as_str() == "policy.org")
    }

    fn content() -> Value {
        let key = signer("policy.org").public_key_base64();
        json!({"via": "policy.org", "public_keys": {"ed25519": key}})
    }

    #[test]
    fn a_room_uses_a_policy_server_that_is_in_it() {
        let policy = policy_server(&content()).unwrap();
        assert_eq!(policy.server_name(), "policy.org");
        let mut elsewhere = content();
        elsewhere["via"] = "else.org".into();
        assert_eq!(policy_server(&elsewhere), None);
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
            assert_eq!(policy_server(&content), None, "{content}");
        }
    }

    #[test]
    fn events_need_its_signature_except_the_one_that_names_it() {
        let policy = policy_server(&content()).unwrap();
        let mut room = Room::new("11");
        let version = room.version.clone();
        let event = room.message(ALICE).unwrap();
        assert!(policy.check(&event, &version).is_err());
        let text = event.tree().unwrap().signed_text(&version).unwrap();
        let signature = signer("policy.org").sign_text(&text);
        let good = policy.with_signature(&event, &signature).unwrap();
        assert_eq!(good.event_id(), event.event_id());
        policy.check(&good, &version).unwrap();
        // The sender's signature is still there.
        assert!(good.json().contains("example.org\":{\"ed25519:"));
        let forged = policy.with_signature(&event, "AAAA").unwrap();
        assert!(policy.check(&forged, &version).is_err());
        let other = room.message(ALICE).unwrap();
        let moved = policy.with_signature(&other, &signature).unwrap();
        assert!(policy.check(&moved, &version).is_err());
        let named = room.set(ALICE, POLICY, "", content()).unwrap();
        policy.check(&named, &version).unwrap();
        let other = room.set(ALICE, POLICY, "x", content()).unwrap();
        assert!(policy.check(&other, &version).is_err());
    }
}
