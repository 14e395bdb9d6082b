//! Opens the configured PostgreSQL: an external one or the managed one.

use std::sync::Arc;

use anyhow::Context as _;
use config::Config;
use postgres::ManagedPostgres;
use storage::{Database, Feed};

/// Whether a managed PostgreSQL must be owned by this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PostgresOwnership {
    /// Yes: this process is the server.
    Managed,
    /// No: attach to one that another process runs, if there is one.
    Attached,
}

/// An open database with its schema up to date.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The handle.
    pub(crate) database: Database,
    /// The feed of committed changes.
    pub(crate) feed: Feed,
    /// The managed PostgreSQL, if this process owns it.
    pub(crate) managed: Option<Arc<ManagedPostgres>>,
}

/// Starts the managed PostgreSQL if configured, connects, and applies the migrations.
pub(crate) async fn open(config: &Config, ownership: PostgresOwnership) -> anyhow::Result<Opened> {
    let (managed, options) = if let Some(url) = &config.database.url {
        let options = url.expose().parse();
        (
            None,
            options.context("database.url is not a PostgreSQL URL")?,
        )
    } else {
        let settings = managed_settings(config);
        let attached = match ownership {
            PostgresOwnership::Attached => ManagedPostgres::find_running(&settings).await,
            PostgresOwnership::Managed => None,
        };
        if let Some(options) = attached {
            (None, options)
        } else {
            let managed = ManagedPostgres::start(settings).await?;
            let options = managed.connect_options();
            (Some(Arc::new(managed)), options)
        }
    };
    let opened = Database::open(
        options,
        config.database.max_connections,
        &config.server_name,
    )
    .await;
    match opened {
        Ok((database, feed)) => Ok(Opened {
            database,
            feed,
            managed,
        }),
        Err(error) => {
            stop(managed).await;
            Err(error).context("the database cannot be opened")
        }
    }
}

/// Stops the managed PostgreSQL, if this process owns it.
pub(crate) async fn stop(managed: Option<Arc<ManagedPostgres>>) {
    let Some(managed) = managed else { return };
    if let Err(error) = managed.stop().await {
        tracing::error!(%error, "The managed PostgreSQL could not be stopped; the next start adopts it");
    }
}

fn managed_settings(config: &Config) -> postgres::Settings {
    postgres::Settings {
        data_dir: config.data_dir.clone(),
        bin_dir: config.database.bin_dir.clone(),
        run_as: None,
        server_name: config.server_name.clone(),
        fsync: true,
    }
}
