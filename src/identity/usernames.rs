//! Username rules and parsing.

use ruma::{OwnedUserId, UserId};

use crate::{Error, Identity, Result};

/// The longest user id, in bytes. Spec: appendices, "User Identifiers".
const MAX_USER_ID: usize = 255;

impl Identity {
    /// The user id of a new account; converted to lower case.
    pub(crate) fn new_user_id(&self, username: &str) -> Result<OwnedUserId> {
        let localpart = username.to_ascii_lowercase();
        if localpart.is_empty() {
            return Err(Error::InvalidUsername("it is empty"));
        }
        if !localpart.bytes().all(is_allowed) {
            return Err(Error::InvalidUsername(
                "only the letters a-z, digits and ._=-/+ are allowed",
            ));
        }
        let user_id = format!("@{localpart}:{}", self.0.server_name);
        if user_id.len() > MAX_USER_ID {
            return Err(Error::InvalidUsername("it is too long"));
        }
        OwnedUserId::try_from(user_id).map_err(|_| Error::InvalidUsername("it is not a user id"))
    }

    /// Parses a username as entered at login: a user id or its localpart.
    ///
    /// `None` for names that no account here can have.
    pub fn parse_user(&self, name: &str) -> Option<OwnedUserId> {
        if !name.starts_with('@') {
            return self.new_user_id(name).ok();
        }
        let user_id = <&UserId>::try_from(name).ok()?;
        self.is_local(user_id)
            .then(|| self.new_user_id(user_id.localpart()).ok())?
    }

    /// Whether the user belongs to this server.
    pub fn is_local(&self, user_id: &UserId) -> bool {
        user_id.server_name() == self.0.server_name
    }
}

fn is_allowed(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'=' | b'-' | b'/' | b'+')
}
