//! A private PostgreSQL under the data directory: found, made, started, taken over, stopped.
//!
//! It listens on a unix socket only, and survives a crash of this process: the next start adopts it.

mod binaries;
mod cluster;
mod directory;
mod error;
mod options;
mod owner;
mod postmaster;

use std::{path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use ruma::OwnedServerName;
use sqlx::postgres::PgConnectOptions;

use binaries::Binaries;
use directory::Directory;
pub use error::Error;
use postmaster::Postmaster;

/// What a managed PostgreSQL needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's data directory; the cluster lives in `postgres` below it.
    pub data_dir: PathBuf,
    /// Where the programs are; found by itself if not given.
    pub bin_dir: Option<PathBuf>,
    /// The user and group to run as; PostgreSQL refuses to run as root, where `postgres` is taken.
    pub run_as: Option<(u32, u32)>,
    /// Whose data this is.
    pub server_name: OwnedServerName,
    /// Whether commits wait for the disk; only tests say no.
    pub fsync: bool,
}

/// A PostgreSQL that this process looks after.
#[derive(Debug)]
pub struct ManagedPostgres {
    settings: Settings,
    binaries: Binaries,
    directory: Directory,
    postmaster: Mutex<Arc<Postmaster>>,
}

impl ManagedPostgres {
    /// Makes the cluster unless there is one, and starts it unless it runs.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let run_as = owner::run_as(settings.run_as)?;
        let directory = Directory::open(&settings.data_dir, run_as)?;
        directory.claim(&settings.server_name)?;
        let binaries = Binaries::find(settings.bin_dir.as_deref(), directory.cluster_version()?)?;
        let directory = directory.reached_by(&binaries)?;
        cluster::make(&directory, &binaries).await?;
        let postmaster = Postmaster::adopt_or_start(&directory, &binaries, settings.fsync).await?;
        cluster::prepare(&directory.connection()).await?;
        Ok(Self {
            settings,
            binaries,
            directory,
            postmaster: Mutex::new(Arc::new(postmaster)),
        })
    }

    /// How to connect to the cluster of `settings`, if it runs now, whoever looks after it.
    pub async fn running(settings: &Settings) -> Option<PgConnectOptions> {
        let socket = directory::socket_directory(&settings.data_dir);
        let connection = directory::connection(&socket);
        cluster::answers(&connection).await.then_some(connection)
    }

    /// How to connect to it.
    pub fn url(&self) -> PgConnectOptions {
        self.directory.connection()
    }

    /// The process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.postmaster.lock().pid()
    }

    /// Watches over the postmaster and starts it again whenever it ends; never returns.
    ///
    /// Stop watching before [`Self::stop`].
    pub async fn watch(&self) {
        let mut pause = Duration::from_millis(100);
        loop {
            let postmaster = Arc::clone(&self.postmaster.lock());
            postmaster.exited().await;
            tracing::error!(
                pid = postmaster.pid(),
                "The managed PostgreSQL has ended; starting it again"
            );
            match Postmaster::adopt_or_start(&self.directory, &self.binaries, self.settings.fsync)
                .await
            {
                Ok(started) => {
                    *self.postmaster.lock() = Arc::new(started);
                    pause = Duration::from_millis(100);
                }
                Err(error) => {
                    tracing::error!(%error, "The managed PostgreSQL cannot be started");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(30));
                }
            }
        }
    }

    /// Stops the cluster; close all pools first. Sessions that are left are ended.
    pub async fn stop(&self) -> Result<(), Error> {
        let postmaster = Arc::clone(&self.postmaster.lock());
        postmaster.stop().await
    }
}

#[cfg(test)]
mod tests;
