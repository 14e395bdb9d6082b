//! What can go wrong between Chancery and its database.

use types::{ErrorKind, Fault};

/// A failure of the database or of what is stored in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A statement failed, or the database could not be reached.
    #[error("The database did not answer as it should")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("The database schema could not be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The database was made for another server name.
    #[error("The database belongs to the server name {found}, this is {expected}")]
    ForeignServer {
        /// The name in the database.
        found: String,
        /// The name in the configuration.
        expected: String,
    },
    /// Stored data cannot be read.
    #[error("Stored data is damaged: {0}")]
    Corrupt(String),
    /// Another process has taken over the work: nothing was written.
    #[error("Another process holds {name}")]
    LeaseLost {
        /// The lease or job.
        name: String,
    },
}

impl Error {
    /// Whether the database is out of reach, so that the same request may succeed later.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(error) => match error {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => true,
                // Classes 08 connection, 53 resources (disk full), 57 operator (shutdown), 58 system.
                sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                    ["08", "53", "57", "58"]
                        .iter()
                        .any(|class| code.starts_with(class))
                }),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether a lock was waited for as long as the transaction allows.
    pub fn is_lock_timeout(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03"))
    }

    /// Whether text from outside held a NUL, which PostgreSQL does not store.
    fn is_unstorable_text(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.code().as_deref() == Some("22021"))
    }

    /// Whether this is a violation of the named unique constraint.
    pub fn violates(&self, constraint: &str) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.constraint() == Some(constraint))
    }
}

impl Fault for Error {
    fn kind(&self) -> ErrorKind {
        if self.is_unavailable() {
            ErrorKind::Unavailable
        } else if self.is_unstorable_text() {
            ErrorKind::InvalidParam
        } else {
            ErrorKind::Internal
        }
    }
}
