//! The power levels of a new room.

use event::RoomVersion;
use ruma::UserId;
use serde_json::{Map, Value, json};

use super::{CreateRoom, Preset};

const ADMIN: i64 = 100;
const MODERATOR: i64 = 50;
/// Above the levels that users are usually given: replacing the room is for its creators.
const TOMBSTONE_BY_CREATORS: i64 = 150;

/// The preset's power levels, with the request's overrides.
pub(super) fn power_levels(version: &RoomVersion, creator: &UserId, request: &CreateRoom) -> Value {
    let mut users = Map::new();
    // Since version 12 creators stand above all levels and must not be listed.
    if !version.privileges_creators() {
        users.insert(creator.to_string(), json!(ADMIN));
        if request.preset == Preset::TrustedPrivateChat {
            for (user_id, _) in &request.invite {
                users.insert(user_id.to_string(), json!(ADMIN));
            }
        }
    }
    let tombstone = if version.privileges_creators() {
        TOMBSTONE_BY_CREATORS
    } else {
        ADMIN
    };
    // Everybody may join a public room, so inviting to it is left to moderators.
    let invite = if request.preset == Preset::PublicChat {
        MODERATOR
    } else {
        0
    };
    let content = json!({
        "users": users,
        "users_default": 0,
        "events": {
            "m.room.name": MODERATOR,
            "m.room.power_levels": ADMIN,
            "m.room.history_visibility": ADMIN,
            "m.room.canonical_alias": MODERATOR,
            "m.room.avatar": MODERATOR,
            "m.room.tombstone": tombstone,
            "m.room.server_acl": ADMIN,
            "m.room.encryption": ADMIN,
        },
        "events_default": 0,
        "state_default": MODERATOR,
        "ban": MODERATOR,
        "kick": MODERATOR,
        "redact": MODERATOR,
        "invite": invite,
        "historical": ADMIN,
    });
    let mut content = match content {
        Value::Object(content) => content,
        _ => Map::new(),
    };
    content.extend(request.power_level_content_override.clone());
    Value::Object(content)
}
