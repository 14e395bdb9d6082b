//! Server access control lists: which servers may take part in a room.
//!
//! Spec: client-server, "m.room.server_acl"; server-server, "Server Access Control Lists". Called
//! for requests of other servers that are about a room, and for their PDUs and EDUs.

use ruma::{ServerName, events::room::server_acl::RoomServerAclEventContent};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::State;

/// The servers that may take part in a room.
#[derive(Clone, Debug)]
pub struct ServerAcl(Option<RoomServerAclEventContent>);

impl ServerAcl {
    /// The list in a state of the room; without one, all servers may.
    pub fn of(state: &State) -> Self {
        let event = state.get("m.room.server_acl", "");
        Self(event.map(|event| read(&event.content_as().unwrap_or_default())))
    }

    /// The list that an event sets, given as JSON.
    pub fn of_event(json: &str) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Event {
            content: Map<String, Value>,
        }
        let event: Event = serde_json::from_str(json).unwrap_or_default();
        Self(Some(read(&event.content)))
    }

    /// Whether a server may take part. Its port does not count.
    pub fn allows(&self, server_name: &ServerName) -> bool {
        let content = self.0.as_ref();
        content.is_none_or(|content| content.is_allowed(server_name))
    }
}

/// Reads the content as far as it is well formed: a list or entry that is not counts as absent, so
/// that one bad entry does not let all servers in, or in an empty list of allowed servers, none.
fn read(content: &Map<String, Value>) -> RoomServerAclEventContent {
    let list = |field: &str| -> Vec<String> {
        let entries = content.get(field).and_then(Value::as_array);
        let entries = entries.into_iter().flatten().filter_map(Value::as_str);
        entries.map(str::to_owned).collect()
    };
    let allow_ip_literals = content.get("allow_ip_literals").and_then(Value::as_bool);
    RoomServerAclEventContent::new(
        allow_ip_literals.unwrap_or(true),
        list("allow"),
        list("deny"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::{ALICE, Room};

    /// Whether servers are allowed by a list with that content.
    fn allowed<const N: usize>(content: &Value, servers: [&str; N]) -> [bool; N] {
        let mut room = Room::new("11");
        room.set(ALICE, "m.room.server_acl", "", content.clone())
            .unwrap();
        let acl = ServerAcl::of(&room.state);
        servers.map(|server| acl.allows(server.try_into().unwrap()))
    }

    #[test]
    fn without_a_list_all_servers_may() {
        let acl = ServerAcl::of(&Room::new("11").state);
        for server in ["example.org", "1.2.3.4", "[::1]:8448"] {
            assert!(acl.allows(server.try_into().unwrap()));
        }
    }

    #[test]
    fn denied_comes_before_allowed_and_what_is_not_allowed_is_denied() {
        let content = json!({"allow": ["*.org", "a?c.net"], "deny": ["evil.org", "*.evil.org"]});
        let servers = [
            "good.org",
            "evil.org",
            "x.evil.org",
            "abc.net",
            "ac.net",
            "good.com",
        ];
        let expected = [true, false, false, true, false, false];
        assert_eq!(allowed(&content, servers), expected);
        assert_eq!(allowed(&json!({}), ["example.org"]), [false]);
        assert_eq!(allowed(&json!({"deny": ["a.b"]}), ["c.d"]), [false]);
    }

    #[test]
    fn names_are_compared_without_case_and_port() {
        let content = json!({"allow": ["*"], "deny": ["EVIL.org", "good.org:8448"]});
        let servers = ["evil.ORG:1234", "evil.org", "good.org:8448"];
        assert_eq!(allowed(&content, servers), [false, false, true]);
    }

    #[test]
    fn address_literals_are_allowed_unless_said_otherwise() {
        let servers = ["1.2.3.4", "1.2.3.4:8448", "[::1]", "[::1]:8448", "a.b"];
        for (content, literals) in [
            (json!({"allow": ["*"]}), true),
            (json!({"allow": ["*"], "allow_ip_literals": true}), true),
            (json!({"allow": ["*"], "allow_ip_literals": "no"}), true),
            (json!({"allow": ["*"], "allow_ip_literals": false}), false),
        ] {
            let [first, second, third, fourth, name] = allowed(&content, servers);
            assert_eq!([first, second, third, fourth], [literals; 4], "{content}");
            assert!(name);
        }
    }

    #[test]
    fn malformed_entries_do_not_count() {
        let content = json!({"allow": ["*", 5, null], "deny": [{}, "evil.org"]});
        assert_eq!(allowed(&content, ["a.b", "evil.org"]), [true, false]);
        let content = json!({"allow": "*", "deny": 5});
        assert_eq!(allowed(&content, ["a.b"]), [false]);
    }
}
