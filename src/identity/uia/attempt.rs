//! The `auth` field of a request.

use serde::Deserialize;
use types::Secret;

/// One attempt at a stage.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Attempt {
    /// The stage; without one the client asks whether the session is complete by now.
    #[serde(rename = "type")]
    pub stage: Option<String>,
    /// The session that the server gave out.
    pub session: Option<String>,
    /// Whose password it is.
    identifier: Option<Identifier>,
    /// The same, as clients of old versions of the specification send it.
    user: Option<String>,
    /// For `m.login.password`.
    pub(super) password: Option<Secret>,
    /// For `m.login.registration_token`.
    pub(super) token: Option<Secret>,
}

/// How a person names a user; only `m.id.user` is offered.
#[derive(Clone, Debug, Deserialize)]
pub struct Identifier {
    /// `m.id.user`, or a kind that is not offered.
    #[serde(rename = "type")]
    kind: String,
    /// The user id or its local part.
    user: Option<String>,
}

impl Identifier {
    /// The user id or its local part.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref().filter(|_| self.kind == "m.id.user")
    }
}

impl Attempt {
    /// The user whose password it is, if the client says so.
    pub(super) fn user(&self) -> Option<&str> {
        match &self.identifier {
            // An identifier of another kind names nobody here.
            Some(identifier) => Some(identifier.user().unwrap_or_default()),
            None => self.user.as_deref(),
        }
    }
}
