//! `[rooms]`: new rooms.

use ruma::RoomVersionId;
use serde::{Deserialize, Serialize};

/// New rooms.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rooms {
    /// The version of rooms that are created without naming one; the server checks that it supports it.
    pub default_version: RoomVersionId,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            default_version: RoomVersionId::V12,
        }
    }
}
