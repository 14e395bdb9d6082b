//! `chancery registration-token create`: makes a token that lets its holder register.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use config::Config;

use super::accounts::with_identity;

/// Makes a registration token.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How many accounts may be made with it; any number without this
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,
    /// For how many days it holds; for ever without this
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
}

/// Makes the token and prints it.
pub(super) fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let lifetime = arguments.days.map(|days| Duration::from_hours(24) * days);
    let token = with_identity(config, async |identity| {
        identity
            .create_registration_token(arguments.uses, lifetime)
            .await
            .context("the token cannot be made")
    })?;
    writeln!(io::stdout(), "{token}")?;
    Ok(())
}
