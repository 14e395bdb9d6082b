//! `chancery user create`: makes an account, beside a running server or without one.

use std::{
    fs,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use config::Config;
use identity::NewUser;
use types::Secret;

use super::accounts::with_identity;

/// Makes an account.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The name before the colon: `alice` for @alice:example.org
    name: String,
    /// Let the account administer the server
    #[arg(long)]
    admin: bool,
    /// Take the password from the first line of this file instead of standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Makes the account.
pub(super) fn run(config: &Config, arguments: Arguments) -> anyhow::Result<()> {
    let password = password(arguments.password_file.as_deref())?;
    let new = NewUser {
        username: arguments.name,
        password: Some(password),
        display_name: None,
        is_admin: arguments.admin,
    };
    let user_id = with_identity(config, async |identity| {
        identity
            .create_user(new)
            .await
            .context("the account cannot be created")
    })?;
    writeln!(io::stdout(), "Created {user_id}")?;
    Ok(())
}

fn password(file: Option<&Path>) -> anyhow::Result<Secret> {
    let text = match file {
        Some(path) => {
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => read_password_line()?,
    };
    let password = text.lines().next().unwrap_or_default();
    anyhow::ensure!(!password.is_empty(), "the password is empty");
    Ok(Secret::new(password))
}

/// Reads a line from standard input; at a terminal it asks, and does not show what is typed.
fn read_password_line() -> anyhow::Result<String> {
    let stdin = io::stdin();
    let mut line = String::new();
    if !stdin.is_terminal() {
        stdin.lock().read_line(&mut line)?;
        return Ok(line);
    }
    eprint!("Password: ");
    let shown = rustix::termios::tcgetattr(&stdin).context("the terminal cannot be used")?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(rustix::termios::LocalModes::ECHO);
    let set = |attributes| {
        rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Now, attributes)
    };
    set(&hidden).context("the terminal cannot be used")?;
    let read = stdin.lock().read_line(&mut line);
    set(&shown).context("the terminal cannot be used")?;
    eprintln!();
    read?;
    Ok(line)
}
