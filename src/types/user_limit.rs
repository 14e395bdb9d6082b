//! The error for a limit of an account.

use crate::{ErrorKind, Fault};

/// The request would take an account over a limit that the operator has set.
///
/// Spec: client-server, "Common error codes": `M_USER_LIMIT_EXCEEDED` is for "a maximum number of allowed rooms,
/// devices, or other account-scoped resources". `M_LIMIT_EXCEEDED` would make clients try again, and
/// `M_RESOURCE_LIMIT_EXCEEDED` is for limits of the server.
#[derive(Clone, Debug, thiserror::Error)]
#[error("This account has reached its limit of {limit}")]
pub struct UserLimitExceeded {
    /// The limit, such as "500 devices".
    pub limit: String,
    /// A page that explains the limit to the user.
    pub info_uri: String,
}

impl Fault for UserLimitExceeded {
    fn kind(&self) -> ErrorKind {
        ErrorKind::UserLimitExceeded {
            info_uri: self.info_uri.clone(),
        }
    }
}
