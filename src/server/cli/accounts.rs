//! Shared by the commands that work on the database.

use anyhow::Context as _;
use config::Config;
use identity::Identity;
use storage::{Committer, Database};
use types::Clock;

use crate::{
    app,
    database::{self, PostgresOwnership},
    telemetry,
};

/// Runs `work` on the database, whether or not the server is running.
pub(super) fn with_database<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Database) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    telemetry::quiet_log()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    runtime.block_on(async {
        let opened = database::open(config, PostgresOwnership::Attached).await?;
        let result = work(&opened.database).await;
        opened.database.close().await;
        database::stop(opened.managed).await;
        result
    })
}

/// Runs `work` on the accounts, whether or not the server is running.
pub(super) fn with_identity<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Identity) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    with_database(config, async |database| {
        let (committer, commit) = Committer::new(database.clone());
        let identity = app::identity(config, database.clone(), committer, Clock::system());
        let working = async {
            let result = work(&identity).await;
            drop(identity);
            result
        };
        // It ends when nobody is left to write.
        let (result, ()) = tokio::join!(working, commit);
        result
    })
}
