//! Reads the settings from a file and the environment, and reports everything that is wrong at once.

mod collect;
mod environment;
mod file;

use std::{collections::BTreeMap, path::PathBuf};

use crate::{Config, Origin, Problem, fields, problem::Findings};
use collect::Collected;

/// What was read, and what is wrong with it.
#[derive(Debug)]
pub struct Loaded {
    /// The effective settings; what could not be read has its default.
    pub config: Config,
    /// What is wrong; the server does not start unless this is empty.
    pub problems: Vec<Problem>,
    /// What is odd but harmless.
    pub warnings: Vec<String>,
    origins: BTreeMap<String, Origin>,
}

/// One setting as it is in effect.
#[derive(Debug)]
pub struct Setting {
    /// Its name, written `section.key`.
    pub key: String,
    /// Its value as TOML, secrets masked; nothing if it is not set.
    pub value: Option<String>,
    /// Where the value comes from.
    pub origin: Origin,
}

/// Reads the settings from `file`, or the file that `CHANCERY_CONFIG` names, and from `environment`.
///
/// The environment wins over the file, and both over the defaults.
pub fn load(
    file: Option<PathBuf>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Loaded {
    let environment = environment::Environment::new(environment);
    let mut collected = Collected::default();
    if let Some(path) = file.or_else(|| environment.config_file()) {
        file::collect(&path, &mut collected);
    }
    environment.collect(&mut collected);
    collected.finish()
}

/// The environment of this process, for [`load`].
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
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
        let table = toml::Table::try_from(&self.config).unwrap_or_default();
        fields::keys()
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
