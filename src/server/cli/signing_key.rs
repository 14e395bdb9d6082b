//! `chancery signing-key rotate`: makes a new signing key.

use std::io::{self, Write as _};

use anyhow::Context as _;
use config::Config;
use storage::keys;
use types::Clock;

use super::accounts::with_database;
use crate::app;

/// Makes the key; it is used from the next start of the server on.
pub(super) fn rotate(config: &Config) -> anyhow::Result<()> {
    let key = app::new_signing_key(config)?;
    with_database(config, async |database| {
        let mut db = database.acquire().await?;
        keys::insert(&mut db, &key, Clock::system().now_ms())
            .await
            .context("the key cannot be stored")
    })?;
    writeln!(
        io::stdout(),
        "Made the signing key ed25519:{}. Stop the server, all of its processes, and start it again to use the key.",
        key.version
    )?;
    Ok(())
}
