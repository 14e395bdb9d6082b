//! Whom a user lets invite them.
//!
//! Spec: client-server, "Invite permission". Lists of users and servers: MSC4155.

use ruma::UserId;
use serde_json::{Map, Value};
use wildmatch::WildMatch;

/// What becomes of an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteDecision {
    /// The invited user gets it.
    Allow,
    /// It is made, but the invited user is not told.
    Ignore,
    /// It is refused.
    Block,
}

/// The settings of a user: two types of account data.
#[derive(Clone, Debug, Default)]
pub struct InvitePermission {
    blocks_all: bool,
    /// In the order in which they are asked.
    lists: Vec<List>,
}

#[derive(Clone, Debug)]
struct List {
    of: Subject,
    patterns: Vec<WildMatch>,
    decision: InviteDecision,
}

#[derive(Clone, Copy, Debug)]
enum Subject {
    Users,
    Servers,
}

/// The fields of the lists. What is said of a user comes before what is said of the user's server.
const LISTS: [(&str, Subject, InviteDecision); 6] = [
    ("allowed_users", Subject::Users, InviteDecision::Allow),
    ("ignored_users", Subject::Users, InviteDecision::Ignore),
    ("blocked_users", Subject::Users, InviteDecision::Block),
    ("allowed_servers", Subject::Servers, InviteDecision::Allow),
    ("ignored_servers", Subject::Servers, InviteDecision::Ignore),
    ("blocked_servers", Subject::Servers, InviteDecision::Block),
];

impl InvitePermission {
    /// The type of the account data that may block all invitations.
    pub const DEFAULT_TYPE: &'static str = "m.invite_permission_config";
    /// The type of the account data with lists.
    pub const LISTS_TYPE: &'static str = "org.matrix.msc4155.invite_permission_config";

    /// Takes account data up, if it is of one of the types. Clients write it: what makes no sense counts as
    /// absent.
    pub fn set(&mut self, event_type: &str, content: &str) {
        let object = || -> Map<String, Value> { serde_json::from_str(content).unwrap_or_default() };
        match event_type {
            Self::DEFAULT_TYPE => {
                let default = object().remove("default_action");
                self.blocks_all = default.is_some_and(|action| action == "block");
            }
            Self::LISTS_TYPE => self.lists = read_lists(&object()),
            _ => {}
        }
    }

    /// What becomes of an invitation by a user. What no list names is decided by the default.
    pub fn decide(&self, inviter: &UserId) -> InviteDecision {
        let server = inviter.server_name();
        let names = |list: &List| {
            list.patterns.iter().any(|pattern| match list.of {
                Subject::Users => pattern.matches(inviter.as_str()),
                Subject::Servers => {
                    pattern.matches(server.as_str()) || pattern.matches(server.host())
                }
            })
        };
        let default = if self.blocks_all {
            InviteDecision::Block
        } else {
            InviteDecision::Allow
        };
        let list = self.lists.iter().find(|list| names(list));
        list.map_or(default, |list| list.decision)
    }
}

fn read_lists(content: &Map<String, Value>) -> Vec<List> {
    if content.get("enabled") == Some(&Value::Bool(false)) {
        return Vec::new();
    }
    let lists = LISTS.into_iter().map(|(field, of, decision)| {
        let entries = content.get(field).and_then(Value::as_array);
        let entries = entries.into_iter().flatten().filter_map(Value::as_str);
        List {
            of,
            patterns: entries.map(WildMatch::new).collect(),
            decision,
        }
    });
    lists.filter(|list| !list.patterns.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        InviteDecision::{Allow, Block, Ignore},
        *,
    };

    fn decisions<const N: usize>(
        default: &Value,
        lists: &Value,
        inviters: [&str; N],
    ) -> [InviteDecision; N] {
        let mut permission = InvitePermission::default();
        permission.set(InvitePermission::DEFAULT_TYPE, &default.to_string());
        permission.set(InvitePermission::LISTS_TYPE, &lists.to_string());
        inviters.map(|inviter| permission.decide(inviter.try_into().unwrap()))
    }

    #[test]
    fn users_come_before_servers_and_allowed_before_ignored_before_blocked() {
        let lists = json!({
            "allowed_users": ["@boss:*", "@a:mixed.org"],
            "ignored_users": ["@a:mixed.org", "@bore:good.org"],
            "blocked_users": ["@bore:good.org", "@evil-?*:good.org"],
            "allowed_servers": ["good.org"],
            "ignored_servers": ["*.dull.org"],
            "blocked_servers": ["*.org"],
        });
        let inviters = [
            "@boss:bad.org",
            "@a:mixed.org",
            "@bore:good.org",
            "@evil-1:good.org",
            "@evil-:good.org",
            "@x:good.org:8448",
            "@x:very.dull.org",
            "@x:bad.org",
            "@x:example.com",
        ];
        let expected = [
            Allow, Allow, Ignore, Block, Allow, Allow, Ignore, Block, Allow,
        ];
        assert_eq!(decisions(&json!({}), &lists, inviters), expected);
    }

    #[test]
    fn the_default_decides_what_no_list_names() {
        let lists = json!({ "allowed_users": ["@friend:a.org"] });
        let inviters = ["@friend:a.org", "@x:a.org"];
        let block = json!({ "default_action": "block" });
        assert_eq!(decisions(&block, &lists, inviters), [Allow, Block]);
        for other in [json!({ "default_action": "x" }), json!({}), json!([])] {
            assert_eq!(decisions(&other, &lists, inviters), [Allow, Allow]);
        }
    }

    #[test]
    fn what_makes_no_sense_counts_as_absent() {
        for lists in [
            json!({ "blocked_users": null, "blocked_servers": 7 }),
            json!({ "blocked_users": [7, null], "blocked_servers": {} }),
            json!({ "enabled": false, "blocked_servers": ["*"] }),
            json!("x"),
        ] {
            assert_eq!(decisions(&json!({}), &lists, ["@x:a.org"]), [Allow]);
        }
    }
}
