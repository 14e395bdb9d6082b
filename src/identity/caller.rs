//! The authenticated caller.

use ruma::{OwnedDeviceId, OwnedUserId};

/// A user with a valid access token, and the token's device.
///
/// A function that takes an `ActiveUser` can only be called for a request that has been
/// authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveUser {
    /// The user.
    pub user_id: OwnedUserId,
    /// The token's device.
    pub device_id: OwnedDeviceId,
    /// The session's id in the database.
    pub session_nid: i64,
    /// Whether the user administers this server.
    pub is_admin: bool,
    /// Whether the user is a guest.
    pub is_guest: bool,
}
