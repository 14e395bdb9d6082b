//! Password hashes: argon2id, computed away from the async threads, a few at a time.

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

/// Hashes and verifies; each costs tens of milliseconds and 19 MiB, so as many at once as there are cores.
#[derive(Debug)]
pub(crate) struct Passwords {
    cores: Arc<Semaphore>,
    /// Verified when there is no user, so that the answer takes as long as for a wrong password.
    decoy: OnceCell<String>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            cores: Arc::new(Semaphore::new(cores)),
            decoy: OnceCell::new(),
        }
    }

    /// Hashes a password that a user has chosen.
    pub(crate) async fn hash(&self, password: Secret) -> Result<String> {
        if password.expose().is_empty() || password.expose().len() > MAX_BYTES {
            return Err(Error::UnacceptablePassword);
        }
        self.on_a_core(move || hash(password.expose())).await?
    }

    /// Whether the password is the one that was hashed; `false` in the same time if there is no hash.
    pub(crate) async fn verify(&self, password: Secret, hash: Option<String>) -> Result<bool> {
        if password.expose().len() > MAX_BYTES {
            return Ok(false);
        }
        let known = hash.is_some();
        let hash = match hash {
            Some(hash) => hash,
            None => self.decoy().await?,
        };
        let fits = self
            .on_a_core(move || verify(password.expose(), &hash))
            .await??;
        Ok(known && fits)
    }

    async fn decoy(&self) -> Result<String> {
        let make = async || self.on_a_core(|| hash("no such user")).await?;
        self.decoy.get_or_try_init(make).await.cloned()
    }

    async fn on_a_core<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let failed = |error: &dyn std::error::Error| Error::Hashing(error.to_string());
        let permit = self
            .cores
            .clone()
            .acquire_owned()
            .await
            .map_err(|error| failed(&error))?;
        // The permit goes along: when the request is cancelled, the work still occupies its core.
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
