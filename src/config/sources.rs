//! Reads settings from a TOML file and from the environment.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use crate::{Loaded, Origin, keys, loaded::Collected};

/// Reads the settings from `file`, or the file that `CHANCERY_CONFIG` names, and from `environment`.
///
/// The environment wins over the file, and both over the defaults.
pub fn load(
    file: Option<PathBuf>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Loaded {
    let environment = Environment::new(environment);
    let mut collected = Collected::default();
    if let Some(path) = file.or_else(|| environment.config_file()) {
        collect_file(&path, &mut collected);
    }
    environment.collect(&mut collected);
    collected.finish()
}

/// The environment of this process, for [`load`].
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Collects every key of a TOML file, with its line.
fn collect_file(path: &Path, collected: &mut Collected) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            return collected.problem(
                "",
                Origin::file(path, 0),
                format!("cannot be read: {error}"),
            );
        }
    };
    let table = match text.parse::<Table>() {
        Ok(table) => table,
        Err(error) => {
            let line = error.span().map_or(0, |span| line_at(&text, span.start));
            return collected.problem("", Origin::file(path, line), error.message());
        }
    };
    let lines = lines(&text);
    let origin = |key: &str| Origin::file(path, lines.get(key).copied().unwrap_or(0));
    let sections = keys::sections().map(|(name, _)| name);
    for (name, value) in table {
        match value {
            Value::Table(section) => {
                for (key, value) in section {
                    let key = format!("{name}.{key}");
                    collected.add(&key, vec![value], origin(&key));
                }
            }
            _ if sections.contains(&name.as_str()) => {
                collected.problem(
                    &name,
                    origin(&name),
                    format!("is a section; write [{name}] and its keys below"),
                );
            }
            value => collected.add(&name, vec![value], origin(&name)),
        }
    }
}

/// The line of every key of the first two levels, counted from 1.
fn lines(text: &str) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    let Ok(root) = DeTable::parse(text) else {
        return lines;
    };
    for (name, value) in root.get_ref() {
        lines.insert(name.get_ref().to_string(), line_at(text, name.span().start));
        if let DeValue::Table(section) = value.get_ref() {
            for key in section.keys() {
                lines.insert(
                    format!("{}.{}", name.get_ref(), key.get_ref()),
                    line_at(text, key.span().start),
                );
            }
        }
    }
    lines
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

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
struct Environment(BTreeMap<String, String>);

impl Environment {
    fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |(name, value): &(String, String)| name.starts_with(PREFIX) && !value.is_empty();
        Self(variables.into_iter().filter(ours).collect())
    }

    fn config_file(&self) -> Option<PathBuf> {
        self.0.get(CONFIG).map(PathBuf::from)
    }

    /// Collects every variable that names a setting.
    fn collect(&self, collected: &mut Collected) {
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
    keys::all().into_iter().find(|key| variable_of(key) == name)
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
