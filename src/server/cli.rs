//! The command line.

mod accounts;
mod config_check;
mod registration_token;
mod serve;
mod signing_key;
mod user_create;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use config::{Config, Loaded};
use rustix::fs::Mode;

use crate::settings;

/// A Matrix homeserver.
#[derive(Debug, Parser)]
#[command(name = "chancery", version)]
struct Cli {
    /// The configuration file; everything has a default without one [env: CHANCERY_CONFIG]
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve,
    /// Check the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Work on accounts
    #[command(subcommand)]
    User(UserCommand),
    /// Let people register, where registration asks for a token
    #[command(subcommand)]
    RegistrationToken(RegistrationTokenCommand),
    /// Work on the key that this server signs events and requests with
    #[command(subcommand)]
    SigningKey(SigningKeyCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every setting in effect and where it comes from, then what is wrong
    Check,
}

#[derive(Debug, Subcommand)]
enum SigningKeyCommand {
    /// Make a new key, for the next start of the server; the old one is still published, for what it has signed
    Rotate,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Make an account; works whether or not the server is running
    Create(user_create::Arguments),
}

#[derive(Debug, Subcommand)]
enum RegistrationTokenCommand {
    /// Make a token and print it; works whether or not the server is running
    Create(registration_token::Arguments),
}

/// Runs the command that the command line asks for.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    // Whatever is written from here on is for this user alone.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let mut loaded = config::load(cli.config.clone(), config::process_environment());
    settings::check(&mut loaded);
    let result = match cli.command {
        Command::Serve => validated(loaded).and_then(|config| serve::run(config, cli.config)),
        Command::User(UserCommand::Create(arguments)) => {
            validated(loaded).and_then(|config| user_create::run(&config, arguments))
        }
        Command::RegistrationToken(RegistrationTokenCommand::Create(arguments)) => {
            validated(loaded).and_then(|config| registration_token::run(&config, &arguments))
        }
        Command::SigningKey(SigningKeyCommand::Rotate) => {
            validated(loaded).and_then(|config| signing_key::rotate(&config))
        }
        Command::Config(ConfigCommand::Check) => config_check::run(&loaded),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chancery: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The settings, unless something is wrong with them.
fn validated(loaded: Loaded) -> anyhow::Result<Config> {
    for warning in &loaded.warnings {
        eprintln!("chancery: {warning}");
    }
    if loaded.problems.is_empty() {
        return Ok(loaded.config);
    }
    let problems: Vec<String> = loaded
        .problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect();
    anyhow::bail!("the configuration is wrong:{}", problems.concat())
}
