//! A private PostgreSQL under the data directory: finds its programs, creates the cluster, starts, adopts,
//! restarts and stops it.
//!
//! It listens on a Unix socket only. It survives a crash of this process; the next start adopts it.

mod binaries;
mod cluster;
mod directory;
mod error;
mod lock_files;
mod options;
mod owner;
mod postmaster;
mod process;

use std::{path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use ruma::OwnedServerName;
use sqlx::postgres::PgConnectOptions;

use binaries::Binaries;
use directory::Directory;
pub use error::Error;
use postmaster::Postmaster;

/// The first pause before a failed restart is tried again; it doubles each time.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(30);

/// The settings of a managed PostgreSQL.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's data directory; the cluster is in `postgres` below it.
    pub data_dir: PathBuf,
    /// The directory of the programs; searched for if not set.
    pub bin_dir: Option<PathBuf>,
    /// The user and group id to run as. If not set: this process's, or those of `postgres` when this process
    /// is root, as PostgreSQL refuses to run as root.
    pub run_as: Option<(u32, u32)>,
    /// The server name that the data belongs to.
    pub server_name: OwnedServerName,
    /// Whether commits wait for the disk; off in tests only.
    pub fsync: bool,
}

/// A PostgreSQL that this process supervises.
#[derive(Debug)]
pub struct ManagedPostgres {
    settings: Settings,
    binaries: Binaries,
    directory: Directory,
    postmaster: Mutex<Arc<Postmaster>>,
}

impl ManagedPostgres {
    /// Creates the cluster if there is none, and starts it unless it is running.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let run_as = owner::resolve(settings.run_as)?;
        let directory = Directory::open(&settings.data_dir, run_as)?;
        directory.check_server_name(&settings.server_name)?;
        let binaries = Binaries::find(settings.bin_dir.as_deref(), directory.cluster_version()?)?;
        let directory = directory.choose_program_path(&binaries)?;
        cluster::create(&directory, &binaries).await?;
        let postmaster = Postmaster::adopt_or_start(&directory, &binaries, settings.fsync).await?;
        cluster::create_database(&directory.connect_options()).await?;
        Ok(Self {
            settings,
            binaries,
            directory,
            postmaster: Mutex::new(Arc::new(postmaster)),
        })
    }

    /// How to connect to the cluster of `settings`, if it is running, whichever process supervises it.
    pub async fn find_running(settings: &Settings) -> Option<PgConnectOptions> {
        let socket = directory::socket_directory(&settings.data_dir);
        let options = directory::connect_options(&socket);
        cluster::accepts_connections(&options)
            .await
            .then_some(options)
    }

    /// How to connect to it.
    pub fn connect_options(&self) -> PgConnectOptions {
        self.directory.connect_options()
    }

    /// The process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.postmaster.lock().pid()
    }

    /// Restarts the postmaster whenever it exits; never returns.
    ///
    /// Drop the future before [`Self::stop`].
    pub async fn supervise(&self) {
        let mut pause = FIRST_RETRY;
        loop {
            let postmaster = Arc::clone(&self.postmaster.lock());
            postmaster.exited().await;
            tracing::error!(
                pid = postmaster.pid(),
                "The managed PostgreSQL has exited; restarting it"
            );
            let restarted =
                Postmaster::adopt_or_start(&self.directory, &self.binaries, self.settings.fsync)
                    .await;
            match restarted {
                Ok(started) => {
                    *self.postmaster.lock() = Arc::new(started);
                    pause = FIRST_RETRY;
                }
                Err(error) => {
                    tracing::error!(%error, "The managed PostgreSQL cannot be started");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_RETRY);
                }
            }
        }
    }

    /// Stops the cluster and terminates the sessions that are left; close all pools first.
    pub async fn stop(&self) -> Result<(), Error> {
        let postmaster = Arc::clone(&self.postmaster.lock());
        postmaster.stop().await
    }
}

#[cfg(test)]
mod tests;
