//! Why the managed PostgreSQL cannot run, in words for the operator.

use std::{io, path::PathBuf};

/// Why the managed PostgreSQL cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable programs were found.
    #[error(
        "PostgreSQL {oldest} or newer is not installed (looked in {searched}). Install it (on Debian: apt-get install \
         postgresql), or set database.bin_dir, or set database.url to use an existing server"
    )]
    MissingBinaries {
        /// The oldest supported version.
        oldest: u32,
        /// The directories that were searched.
        searched: String,
    },
    /// The cluster was created by a version that is not installed.
    #[error(
        "The database in {path} was created by PostgreSQL {cluster}, but only {installed} is installed. Install version \
         {cluster}, or move the data with pg_dump and pg_restore"
    )]
    VersionMismatch {
        /// The cluster.
        path: PathBuf,
        /// Its version.
        cluster: String,
        /// The versions that are installed.
        installed: String,
    },
    /// The data belongs to another server name.
    #[error(
        "The data directory {path} belongs to the server name {found}, this is {expected}. Set data_dir to another one"
    )]
    ForeignServer {
        /// The data directory.
        path: PathBuf,
        /// The name it belongs to.
        found: String,
        /// The name in the settings.
        expected: String,
    },
    /// Another process supervises this cluster.
    #[error("Another Chancery is running on the data directory {0}")]
    InUse(PathBuf),
    /// The disk is full.
    #[error("The disk that holds {path} is full: {detail}")]
    DiskFull {
        /// The cluster.
        path: PathBuf,
        /// The message of the program.
        detail: String,
    },
    /// There is no user to run as.
    #[error(
        "PostgreSQL does not run as root, and there is no user \"postgres\" to run it as. Create that user, or start \
         Chancery as another user, or set database.url"
    )]
    NoUnprivilegedUser,
    /// A program failed.
    #[error("{program} failed: {detail}")]
    Program {
        /// Which one.
        program: &'static str,
        /// The end of its output.
        detail: String,
    },
    /// It was started but does not accept connections.
    #[error(
        "The managed PostgreSQL did not accept connections within {seconds} s; its log is {log}"
    )]
    NotReady {
        /// The time limit.
        seconds: u64,
        /// The file with its messages.
        log: PathBuf,
    },
    /// It does not exit.
    #[error("The managed PostgreSQL (process {0}) does not stop")]
    DoesNotStop(u32),
    /// A file or directory cannot be used.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database cannot be created.
    #[error("The managed PostgreSQL cannot be set up: {0}")]
    Setup(#[from] sqlx::Error),
}

impl Error {
    /// Wraps an error of the file system.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                path,
                detail: source.to_string(),
            },
            _ => Self::File { path, source },
        }
    }

    /// Wraps the output of a program that failed.
    pub(crate) fn program(program: &'static str, path: impl Into<PathBuf>, output: &str) -> Self {
        let lines: Vec<_> = output
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let tail = lines
            .get(lines.len().saturating_sub(8)..)
            .unwrap_or_default();
        match lines.iter().find(|line| {
            line.contains("No space left on device") || line.contains("Disk quota exceeded")
        }) {
            Some(line) => Self::DiskFull {
                path: path.into(),
                detail: (*line).to_owned(),
            },
            None => Self::Program {
                program,
                detail: tail.join("; "),
            },
        }
    }
}
