//! What is wrong with the settings.

use std::fmt;

use crate::Origin;

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, written `section.key`; empty where the file as a whole is meant.
    pub key: String,
    /// Where its value comes from.
    pub origin: Origin,
    /// What is wrong, for the operator.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => {}
            origin => write!(f, "{origin}: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.reason)
    }
}

/// What the checks found, before it is known where the values come from.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<(String, String)>);

impl Findings {
    /// Notes that a setting is wrong.
    pub(crate) fn add(&mut self, key: &str, reason: impl Into<String>) {
        self.0.push((key.to_owned(), reason.into()));
    }

    /// Notes that a setting is wrong unless `holds`.
    pub(crate) fn require(&mut self, holds: bool, key: &str, reason: &str) {
        if !holds {
            self.add(key, reason);
        }
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (String, String)> {
        self.0.into_iter()
    }
}
