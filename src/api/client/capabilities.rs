//! `/capabilities`.

use event::RoomVersion;
use ruma::api::client::discovery::get_capabilities::v3::Request;
use serde_json::{Map, Value, json};

use crate::{App, Matrix, Result, json::RawJson};

/// The server's capabilities, including those that clients assume by default.
pub(crate) async fn capabilities(app: App, _call: Matrix<Request>) -> Result<RawJson> {
    let available: Map<String, Value> = RoomVersion::supported()
        .map(|version| (version.to_string(), "stable".into()))
        .collect();
    let body = json!({ "capabilities": {
        "m.room_versions": { "default": app.rooms.default_version(), "available": available },
        "m.change_password": { "enabled": true },
        "m.set_displayname": { "enabled": true },
        "m.set_avatar_url": { "enabled": true },
        "m.3pid_changes": { "enabled": false },
        "m.get_login_token": { "enabled": true },
        "m.profile_fields": { "enabled": true },
    }});
    Ok(body.to_string().into())
}
