//! `chancery config check`: what is in effect, and what is wrong.

use std::io::{self, Write};

use config::{Loaded, Origin};

/// Prints every setting as TOML with its origin, then every problem; fails if there is one.
pub(super) fn run(loaded: &Loaded) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let mut section = String::new();
    for setting in loaded.settings() {
        let (name, key) = setting.key.split_once('.').unwrap_or(("", &setting.key));
        if name != section {
            writeln!(out, "\n[{name}]")?;
            name.clone_into(&mut section);
        }
        let line = match &setting.value {
            Some(value) => format!("{key} = {value}"),
            None => format!("#{key} is not set"),
        };
        match setting.origin {
            Origin::Default => writeln!(out, "{line}")?,
            origin => writeln!(out, "{line:<44} # {origin}")?,
        }
    }
    out.flush()?;
    for warning in &loaded.warnings {
        eprintln!("note: {warning}");
    }
    for problem in &loaded.problems {
        eprintln!("error: {problem}");
    }
    match loaded.problems.len() {
        0 => {
            eprintln!("The configuration is valid.");
            Ok(())
        }
        1 => anyhow::bail!("there is 1 problem with the configuration"),
        count => anyhow::bail!("there are {count} problems with the configuration"),
    }
}
