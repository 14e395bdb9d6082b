//! Shared by the account commands.

use anyhow::Context as _;
use config::Config;
use identity::Identity;
use types::Clock;

use crate::{
    app,
    database::{self, PostgresOwnership},
    telemetry,
};

/// Runs `work` on the accounts, whether or not the server is running.
pub(super) fn with_identity<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Identity) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    telemetry::quiet_log()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    runtime.block_on(async {
        let opened = database::open(config, PostgresOwnership::Attached).await?;
        let identity = app::identity(config, opened.database.clone(), Clock::system());
        let result = work(&identity).await;
        drop(identity);
        opened.database.close().await;
        database::stop(opened.managed).await;
        result
    })
}
