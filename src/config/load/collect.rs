//! Gathers values key by key, so that one bad value hides no other.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Table, Value};

use crate::{Config, Loaded, Origin, Problem, fields};

/// The values found so far; a later one for the same key wins.
#[derive(Debug, Default)]
pub(super) struct Collected {
    values: BTreeMap<String, Value>,
    origins: BTreeMap<String, Origin>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Collected {
    /// Takes the first of `candidates` that has the right type for `key`.
    pub(super) fn add(&mut self, key: &str, candidates: Vec<Value>, origin: Origin) {
        if !fields::keys().iter().any(|known| known == key) {
            return self.problem(
                key,
                origin,
                format!("there is no such setting{}", siblings(key)),
            );
        }
        let mut reason = None;
        for value in candidates {
            match deserialize([(key, &value)]) {
                Ok(_) => {
                    self.values.insert(key.to_owned(), value);
                    self.origins.insert(key.to_owned(), origin);
                    return;
                }
                Err(error) => reason = reason.or(Some(error)),
            }
        }
        self.problem(key, origin, reason.unwrap_or_default());
    }

    pub(super) fn problem(&mut self, key: &str, origin: Origin, reason: impl Into<String>) {
        self.problems.push(Problem {
            key: key.to_owned(),
            origin,
            reason: reason.into(),
        });
    }

    pub(super) fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// Puts the values together and checks them as a whole.
    pub(super) fn finish(mut self) -> Loaded {
        let values = self.values.iter().map(|(key, value)| (key.as_str(), value));
        let config = deserialize(values).unwrap_or_else(|reason| {
            self.problems.push(Problem {
                key: String::new(),
                origin: Origin::Default,
                reason,
            });
            Config::default()
        });
        let Self {
            origins,
            problems,
            warnings,
            ..
        } = self;
        Loaded {
            config,
            problems,
            warnings,
            origins,
        }
        .check()
    }
}

fn deserialize<'a>(
    values: impl IntoIterator<Item = (&'a str, &'a Value)>,
) -> Result<Config, String> {
    let mut root = Table::new();
    for (key, value) in values {
        match key.split_once('.') {
            Some((section, key)) => {
                let section = root
                    .entry(section)
                    .or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(section) = section {
                    section.insert(key.to_owned(), value.clone());
                }
            }
            None => drop(root.insert(key.to_owned(), value.clone())),
        }
    }
    Config::deserialize(root).map_err(|error| error.message().to_owned())
}

/// Names the settings that could have been meant.
fn siblings(key: &str) -> String {
    let section = key.split_once('.').map(|(section, _)| section);
    match section {
        Some(section) => match fields::sections()
            .into_iter()
            .find(|(name, _)| *name == section)
        {
            Some((_, keys)) => format!("; [{section}] has {}", keys.join(", ")),
            None => format!(", and no section [{section}]"),
        },
        None => String::new(),
    }
}
