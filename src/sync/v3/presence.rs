//! Writes the presence of users.
//!
//! Spec: client-server, "Presence".

use event::json::JsonWriter;
use live::{PresenceState, PresenceUpdate};

use super::filter::PRESENCE;

/// Writes an `m.presence` event. Names and avatars are in profiles and membership events.
pub(super) fn write(json: &mut JsonWriter, update: &PresenceUpdate) {
    let presence = &update.presence;
    json.object(|json| {
        json.field("type").string(PRESENCE);
        json.field("sender").string(update.user_id.as_str());
        json.field("content").object(|json| {
            json.field("presence").string(presence.state.as_str());
            if let Some(ago) = presence.last_active_ago {
                let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
                json.field("last_active_ago").literal(ago);
            }
            if presence.state == PresenceState::Online {
                json.field("currently_active")
                    .literal(presence.currently_active);
            }
            if let Some(status_msg) = &presence.status_msg {
                json.field("status_msg").string(status_msg);
            }
        });
    });
}
