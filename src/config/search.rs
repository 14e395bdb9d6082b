//! `[user_directory]` and `[search]`: what users find.

use serde::{Deserialize, Serialize};

use crate::problem::Findings;

/// Whom searches for users find.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserDirectory {
    /// Whom users find.
    pub search: UserSearch,
}

/// Whom users find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UserSearch {
    /// Those who share a room with them, or are in a room that anybody may join or read.
    #[default]
    SharedRooms,
    /// Besides, all users of this server.
    All,
}

/// How messages are searched.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Search {
    /// The text search configuration of PostgreSQL that tells words apart.
    pub language: String,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            language: "simple".to_owned(),
        }
    }
}

/// The configurations that every PostgreSQL since version 14 has.
const LANGUAGES: [&str; 29] = [
    "simple",
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
];

impl Search {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        findings.require(
            LANGUAGES.contains(&&*self.language),
            "search.language",
            &format!("must be one of {}", LANGUAGES.join(", ")),
        );
    }
}
