//! The settings put together from what was read, and everything that is wrong with them at once.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Table, Value};

use crate::{Config, Origin, Problem, keys, problem::Findings};

/// The settings as read, and the errors in them.
#[derive(Debug)]
pub struct Loaded {
    /// The effective settings; what could not be read has its default.
    pub config: Config,
    /// Errors; the server does not start unless this is empty.
    pub problems: Vec<Problem>,
    /// Warnings.
    pub warnings: Vec<String>,
    origins: BTreeMap<String, Origin>,
}

/// One setting in effect.
#[derive(Debug)]
pub struct Setting {
    /// Its name, written `section.key`.
    pub key: String,
    /// Its value as TOML, secrets masked; nothing if it is not set.
    pub value: Option<String>,
    /// Where the value comes from.
    pub origin: Origin,
}

impl Loaded {
    fn check(mut self) -> Self {
        let mut findings = Findings::default();
        self.config.read_secrets(&mut findings);
        self.config.validate(&mut findings);
        for (key, reason) in findings.into_iter() {
            self.add_problem(&key, reason);
        }
        self
    }

    /// Adds a problem that only the rest of the program can find.
    pub fn add_problem(&mut self, key: &str, reason: impl Into<String>) {
        self.problems.push(Problem {
            key: key.to_owned(),
            origin: self.origin(key),
            reason: reason.into(),
        });
    }

    fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or_default()
    }

    /// Every setting there is, in the order of the documentation.
    pub fn settings(&self) -> Vec<Setting> {
        // A configuration always is a table: only its own types are written.
        let table = Table::try_from(&self.config).unwrap_or_default();
        keys::all()
            .into_iter()
            .map(|key| {
                let value = match key.split_once('.') {
                    Some((section, key)) => table.get(section).and_then(|section| section.get(key)),
                    None => table.get(&key),
                };
                let (value, origin) = (value.map(ToString::to_string), self.origin(&key));
                Setting { key, value, origin }
            })
            .collect()
    }
}

/// The values found so far; a later one for the same key wins.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    values: BTreeMap<String, Value>,
    origins: BTreeMap<String, Origin>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Collected {
    /// Stores the first of `candidates` that has the right type for `key`.
    pub(crate) fn add(&mut self, key: &str, candidates: Vec<Value>, origin: Origin) {
        if !keys::all().iter().any(|known| known == key) {
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

    pub(crate) fn problem(&mut self, key: &str, origin: Origin, reason: impl Into<String>) {
        self.problems.push(Problem {
            key: key.to_owned(),
            origin,
            reason: reason.into(),
        });
    }

    pub(crate) fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// Builds the settings and checks them as a whole.
    pub(crate) fn finish(mut self) -> Loaded {
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

/// Lists the settings of the same section.
fn siblings(key: &str) -> String {
    let section = key.split_once('.').map(|(section, _)| section);
    match section {
        Some(section) => match keys::sections()
            .into_iter()
            .find(|(name, _)| *name == section)
        {
            Some((_, keys)) => format!("; [{section}] has {}", keys.join(", ")),
            None => format!(", and no section [{section}]"),
        },
        None => String::new(),
    }
}
