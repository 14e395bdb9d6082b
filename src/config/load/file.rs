//! The configuration file: TOML, with the line of every key kept for messages.

use std::{collections::BTreeMap, path::Path};

use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::collect::Collected;
use crate::{Origin, fields};

/// Collects every key of the file.
pub(super) fn collect(path: &Path, collected: &mut Collected) {
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
    let sections = fields::sections().map(|(name, _)| name);
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
