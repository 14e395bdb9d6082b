//! What the commands that work on accounts have in common.

use anyhow::Context as _;
use config::Config;
use identity::Identity;
use types::Clock;

use crate::{
    app,
    database::{self, Sharing},
    telemetry,
};

/// Does something with the accounts, beside a running server or without one.
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
        let opened = database::open(config, Sharing::Borrow).await?;
        let identity = app::identity(config, opened.database.clone(), Clock::system());
        let result = work(&identity).await;
        drop(identity);
        opened.database.close().await;
        database::stop(opened.managed).await;
        result
    })
}
