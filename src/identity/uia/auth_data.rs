//! The `auth` field of a request.

use serde::Deserialize;
use types::Secret;

/// Authentication data of one attempt.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct AuthData {
    /// The stage; without one the client polls whether the session is complete.
    #[serde(rename = "type")]
    pub stage: Option<String>,
    /// The session id that the server issued.
    pub session: Option<String>,
    /// The user whose password it is.
    identifier: Option<Identifier>,
    /// The same, as legacy clients send it.
    user: Option<String>,
    /// For `m.login.password`.
    pub(super) password: Option<Secret>,
    /// For `m.login.registration_token`.
    pub(super) token: Option<Secret>,
}

/// A user identifier; only `m.id.user` is supported.
#[derive(Clone, Debug, Deserialize)]
pub struct Identifier {
    /// `m.id.user`, or an unsupported type.
    #[serde(rename = "type")]
    identifier_type: String,
    /// The user id or its localpart.
    user: Option<String>,
}

impl Identifier {
    /// The user id or its localpart.
    pub fn user(&self) -> Option<&str> {
        self.user
            .as_deref()
            .filter(|_| self.identifier_type == "m.id.user")
    }
}

impl AuthData {
    /// The user whose password it is, if given.
    pub(super) fn user(&self) -> Option<&str> {
        match &self.identifier {
            // An identifier of an unsupported type matches no user.
            Some(identifier) => Some(identifier.user().unwrap_or_default()),
            None => self.user.as_deref(),
        }
    }
}
