//! Who is calling, once a token has been checked.

use ruma::{OwnedDeviceId, OwnedUserId};

/// A user whose access token is valid now, on the device that the token belongs to.
///
/// A function that takes an `ActiveUser` can only be called for a request that has been
/// authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveUser {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device that the token was given to.
    pub device_id: OwnedDeviceId,
    /// The session's number in the database.
    pub session_nid: i64,
    /// Whether the user administers this server.
    pub is_admin: bool,
    /// Whether the user is a guest.
    pub is_guest: bool,
}
