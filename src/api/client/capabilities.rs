//! `/capabilities`: what this server lets a client do.

use ruma::{RoomVersionId, api::client::discovery::get_capabilities::v3::Request};
use serde_json::{Map, Value, json};

use crate::{App, Matrix, Result, json::RawJson};

/// The room versions that can be created and joined, by number.
const ROOM_VERSIONS: std::ops::RangeInclusive<u8> = 3..=12;

/// Tells the server's capabilities, also those that clients would assume anyway.
pub(crate) async fn capabilities(_app: App, _call: Matrix<Request>) -> Result<RawJson> {
    let available: Map<String, Value> = ROOM_VERSIONS
        .map(|version| (version.to_string(), "stable".into()))
        .collect();
    let body = json!({ "capabilities": {
        "m.room_versions": { "default": RoomVersionId::V12, "available": available },
        "m.change_password": { "enabled": true },
        "m.set_displayname": { "enabled": true },
        "m.set_avatar_url": { "enabled": true },
        "m.3pid_changes": { "enabled": false },
        "m.get_login_token": { "enabled": true },
        "m.profile_fields": { "enabled": true },
    }});
    Ok(body.to_string().into())
}
