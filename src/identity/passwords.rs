//! Password hashing with argon2id, on blocking threads with limited concurrency.

use std::{sync::Arc, thread::available_parallelism};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::{OnceCell, Semaphore};
use types::Secret;

use crate::{Error, Result};

/// Longer passwords are refused before they are hashed.
const MAX_BYTES: usize = 512;

/// Hashes and verifies passwords. Each takes tens of milliseconds and 19 MiB, so concurrency is limited to the number of cores.
#[derive(Debug)]
pub(crate) struct Passwords {
    permits: Arc<Semaphore>,
    /// Verified when there is no user, so that the response takes as long as for a wrong password.
    dummy_hash: OnceCell<String>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            permits: Arc::new(Semaphore::new(cores)),
            dummy_hash: OnceCell::new(),
        }
    }

    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: Secret) -> Result<String> {
        if password.expose().is_empty() || password.expose().len() > MAX_BYTES {
            return Err(Error::InvalidPassword);
        }
        self.spawn_blocking_limited(move || hash(password.expose()))
            .await?
    }

    /// Whether the password matches the hash; without a hash, `false` after the same time.
    pub(crate) async fn verify(&self, password: Secret, hash: Option<String>) -> Result<bool> {
        if password.expose().len() > MAX_BYTES {
            return Ok(false);
        }
        let has_hash = hash.is_some();
        let hash = match hash {
            Some(hash) => hash,
            None => self.dummy_hash().await?,
        };
        let is_valid = self
            .spawn_blocking_limited(move || verify(password.expose(), &hash))
            .await??;
        Ok(has_hash && is_valid)
    }

    async fn dummy_hash(&self) -> Result<String> {
        let make = async || self.spawn_blocking_limited(|| hash("no such user")).await?;
        self.dummy_hash.get_or_try_init(make).await.cloned()
    }

    async fn spawn_blocking_limited<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let failed = |error: &dyn std::error::Error| Error::Hashing(error.to_string());
        let permit = self
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(|error| failed(&error))?;
        // The permit moves along: when the request is cancelled, the work still occupies its thread.
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        })
        .await
        .map_err(|error| failed(&error))
    }
}

fn hash(password: &str) -> Result<String> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| Error::Hashing(error.to_string()))
}

fn verify(password: &str, hash: &str) -> Result<bool> {
    let hash = PasswordHash::new(hash).map_err(|error| Error::Hashing(error.to_string()))?;
    Ok(Argon2::default()
        .verify_password(password.as_bytes(), &hash)
        .is_ok())
}
