//! Settings from the environment: `CHANCERY_SECTION_KEY` for every key, and a few short names.

use std::{collections::BTreeMap, path::PathBuf};

use toml::Value;

use super::collect::Collected;
use crate::{Origin, fields};

const PREFIX: &str = "CHANCERY_";

/// Names the configuration file itself.
const CONFIG: &str = "CHANCERY_CONFIG";

/// Short names that other tools rely on, and the keys they stand for.
const SHORT_NAMES: [(&str, &str); 3] = [
    ("CHANCERY_LISTEN", "client.listen"),
    ("CHANCERY_REGISTRATION", "registration.mode"),
    ("CHANCERY_RATE_LIMITS", "rate_limits.enabled"),
];

/// The variables of the environment that concern Chancery and are not empty.
#[derive(Debug)]
pub(super) struct Environment(BTreeMap<String, String>);

impl Environment {
    pub(super) fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |(name, value): &(String, String)| name.starts_with(PREFIX) && !value.is_empty();
        Self(variables.into_iter().filter(ours).collect())
    }

    pub(super) fn config_file(&self) -> Option<PathBuf> {
        self.0.get(CONFIG).map(PathBuf::from)
    }

    /// Collects every variable that names a setting.
    pub(super) fn collect(&self, collected: &mut Collected) {
        for (name, text) in &self.0 {
            if name == CONFIG {
                continue;
            }
            match key_of(name) {
                Some(key) => collected.add(
                    &key,
                    candidates(&key, text),
                    Origin::Environment(name.clone()),
                ),
                None => collected.warn(format!("the environment variable {name} names no setting")),
            }
        }
    }
}

/// The setting that a variable names.
fn key_of(name: &str) -> Option<String> {
    if let Some((_, key)) = SHORT_NAMES.into_iter().find(|(short, _)| *short == name) {
        return Some(key.to_owned());
    }
    fields::keys()
        .into_iter()
        .find(|key| variable_of(key) == name)
}

/// `rate_limits.enabled` → `CHANCERY_RATE_LIMITS_ENABLED`.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// What the text may mean: itself, or a TOML value (a number, `true`, a list).
fn candidates(key: &str, text: &str) -> Vec<Value> {
    let mut candidates = vec![Value::String(text.to_owned())];
    match text {
        "on" if key == "rate_limits.enabled" => candidates.push(Value::Boolean(true)),
        "off" if key == "rate_limits.enabled" => candidates.push(Value::Boolean(false)),
        _ => candidates.extend(text.parse::<Value>()),
    }
    candidates
}
