//! The position of a connection, as its client carries it between requests.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use ruma::{DeviceId, UserId};
use storage::sync_connections::ConnectionKey;
use types::SyncToken;

use super::request::Request;
use crate::Error;

/// Whose connection, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_field_names, reason = "the words of the specification")]
pub(super) struct Owner<'a> {
    pub(super) user_id: &'a UserId,
    pub(super) device_id: &'a DeviceId,
    pub(super) conn_id: &'a str,
}

impl<'a> Owner<'a> {
    pub(super) fn of(request: &'a Request) -> Self {
        Self {
            user_id: &request.user_id,
            device_id: &request.device_id,
            conn_id: &request.conn_id,
        }
    }

    pub(super) fn key(&self) -> ConnectionKey<'a> {
        ConnectionKey {
            user_id: self.user_id,
            device_id: self.device_id,
            conn_id: self.conn_id,
        }
    }

    /// Tells positions of different connections apart. It protects nothing: what has been sent is looked
    /// up by the owner.
    fn tag(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish() & 0xffff_ffff
    }
}

/// Where a connection stands, written `s12_3~4.tag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Rooms are sent up to here unless the connection says something else of one.
    pub(super) token: SyncToken,
    /// The version of what has been sent.
    pub(super) version: i64,
}

impl Position {
    /// Reads the position of a connection.
    pub(super) fn parse(text: &str, owner: &Owner<'_>) -> Result<Self, Error> {
        let parse = || {
            let (token, rest) = text.split_once('~')?;
            let (version, tag) = rest.split_once('.')?;
            let is_owned = u64::from_str_radix(tag, 16).ok()? == owner.tag();
            let version = version.parse().ok().filter(|version: &i64| *version >= 0)?;
            let token = token.parse().ok().filter(|_| is_owned)?;
            Some(Self { token, version })
        };
        parse().ok_or(Error::UnknownPos)
    }

    /// The text that [`parse`](Self::parse) reads.
    pub(super) fn write(&self, owner: &Owner<'_>) -> String {
        format!("{}~{}.{:x}", self.token, self.version, owner.tag())
    }
}

#[cfg(test)]
mod tests {
    use ruma::{device_id, user_id};
    use types::{EphemeralPosition, StreamPosition};

    use super::*;

    #[test]
    fn positions_are_read_by_their_connection_only() {
        let owner = Owner {
            user_id: user_id!("@alice:test.localhost"),
            device_id: device_id!("PHONE"),
            conn_id: "main",
        };
        let position = Position {
            token: SyncToken {
                stream: StreamPosition(12),
                ephemeral: EphemeralPosition(3),
                to_device: None,
            },
            version: 4,
        };
        let text = position.write(&owner);
        assert_eq!(Position::parse(&text, &owner).unwrap(), position);
        let other = Owner {
            conn_id: "other",
            ..owner
        };
        assert!(Position::parse(&text, &other).is_err());
        for text in ["", "s12_3", "s12_3~4", "s12_3~x.1", "~4.1", "s12_3~-1.0"] {
            assert!(Position::parse(text, &owner).is_err(), "{text}");
        }
    }
}
