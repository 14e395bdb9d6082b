//! The PostgreSQL that the settings ask for: an existing one, or one of our own.

use std::sync::Arc;

use anyhow::Context as _;
use config::Config;
use postgres::ManagedPostgres;
use storage::{Database, Feed};

/// Whether a managed PostgreSQL that another process looks after will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// No: this is the server.
    Own,
    /// Yes: this is a command beside the server.
    Borrow,
}

/// An open database with its schema up to date.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The handle.
    pub(crate) database: Database,
    /// What is committed from now on.
    pub(crate) feed: Feed,
    /// The PostgreSQL that this process looks after, if it does.
    pub(crate) managed: Option<Arc<ManagedPostgres>>,
}

/// Starts PostgreSQL if it is ours, connects, and applies the migrations.
pub(crate) async fn open(config: &Config, sharing: Sharing) -> anyhow::Result<Opened> {
    let (managed, options) = if let Some(url) = &config.database.url {
        let options = url.expose().parse();
        (
            None,
            options.context("database.url is not a PostgreSQL URL")?,
        )
    } else {
        let settings = managed_settings(config);
        let borrowed = match sharing {
            Sharing::Borrow => ManagedPostgres::find_running(&settings).await,
            Sharing::Own => None,
        };
        if let Some(options) = borrowed {
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

/// Stops the PostgreSQL that this process looks after.
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
