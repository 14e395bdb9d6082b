//! Credentials for TURN servers.
//!
//! Spec: client-server, "Voice over IP". The user name holds the end of the credentials' validity, and the
//! password is its HMAC with the secret that both servers know, so that a TURN server checks them by itself.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;
use ruma::UserId;

use crate::Identity;

/// Credentials of a user for the configured TURN servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnCredentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
    /// The servers.
    pub uris: Vec<String>,
    /// How long they are valid.
    pub lifetime: Duration,
}

impl Identity {
    /// Makes credentials for a user; `None` if there are no TURN servers.
    pub fn turn_credentials(&self, user_id: &UserId) -> Option<TurnCredentials> {
        let turn = &self.0.settings.turn;
        let secret = turn.shared_secret.as_ref()?;
        if turn.uris.is_empty() {
            return None;
        }
        let now = Duration::from_millis(self.0.clock.now_ms());
        let until = now.saturating_add(turn.credentials_lifetime);
        let username = format!("{}:{user_id}", until.as_secs());
        let key = hmac::Key::new(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            secret.expose().as_bytes(),
        );
        Some(TurnCredentials {
            password: STANDARD.encode(hmac::sign(&key, username.as_bytes())),
            username,
            uris: turn.uris.clone(),
            lifetime: turn.credentials_lifetime,
        })
    }
}
