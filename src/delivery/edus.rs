//! What is sent besides events.

use live::LocalPresence;
use ruma::{OwnedServerName, RoomId, UserId};
use serde::Serialize;
use serde_json::{json, value::RawValue};
use storage::{
    Error,
    deliveries::NewEdu,
    published_device_lists::PublishedList,
    stream::{OutgoingToDevice, Receipt},
};
use types::random;

/// The length of the ids of to-device messages; the specification allows 32.
const MESSAGE_ID_LENGTH: usize = 24;

/// A receipt for a server. A later one of the user in the same thread replaces it.
///
/// Spec: server-server, "Receipts".
pub(crate) fn receipt(server_name: OwnedServerName, room_id: &RoomId, receipt: &Receipt) -> NewEdu {
    let (user_id, thread_id) = (&receipt.user_id, &receipt.thread_id);
    let data = if thread_id.is_empty() {
        json!({ "ts": receipt.ts })
    } else {
        json!({ "ts": receipt.ts, "thread_id": thread_id })
    };
    let read = json!({ "event_ids": [receipt.event_id], "data": data });
    let content = json!({ room_id.as_str(): { "m.read": { user_id.as_str(): read } } });
    NewEdu {
        server_name,
        key: Some(format!("m.receipt {room_id} {user_id} {thread_id}")),
        content: edu("m.receipt", &content),
    }
}

/// To-device messages for users of a server. They have an id of their own, by which the server
/// recognises them when they are sent again.
///
/// Spec: server-server, "Send-to-device messaging".
pub(crate) fn to_device(outgoing: OutgoingToDevice) -> Result<NewEdu, Error> {
    let corrupt = |error: &dyn std::fmt::Display| Error::Corrupt(error.to_string());
    let messages = RawValue::from_string(outgoing.messages.to_string());
    let message_id = random::letters(MESSAGE_ID_LENGTH).map_err(|error| corrupt(&error))?;
    let content = DirectToDevice {
        sender: outgoing.sender.as_str(),
        event_type: &outgoing.event_type,
        message_id: &message_id,
        messages: &messages.map_err(|error| corrupt(&error))?,
    };
    Ok(NewEdu {
        server_name: outgoing.server_name,
        key: None,
        content: edu("m.direct_to_device", &content),
    })
}

/// Whether a user types in a room. A later one replaces it.
///
/// Spec: server-server, "Typing Notifications".
pub(crate) fn typing(
    server_name: &OwnedServerName,
    room_id: &RoomId,
    user_id: &UserId,
    is_typing: bool,
) -> NewEdu {
    let content = json!({ "room_id": room_id, "user_id": user_id, "typing": is_typing });
    NewEdu {
        server_name: server_name.clone(),
        key: Some(format!("m.typing {room_id} {user_id}")),
        content: edu("m.typing", &content),
    }
}

/// The presence of users.
///
/// Spec: server-server, "Presence".
pub(crate) fn presence(server_name: &OwnedServerName, users: &[LocalPresence]) -> NewEdu {
    let push = users.iter().map(
        |LocalPresence {
             user_id, presence, ..
         }| {
            let ago = presence.last_active_ago.unwrap_or_default();
            let mut update = json!({
                "user_id": user_id,
                "presence": presence.state.as_str(),
                "last_active_ago": u64::try_from(ago.as_millis()).unwrap_or_default(),
                "currently_active": presence.currently_active,
            });
            if let (Some(status_msg), Some(update)) = (&presence.status_msg, update.as_object_mut())
            {
                update.insert("status_msg".to_owned(), json!(status_msg));
            }
            update
        },
    );
    let push: Vec<serde_json::Value> = push.collect();
    NewEdu {
        server_name: server_name.clone(),
        key: None,
        content: edu("m.presence", &json!({ "push": push })),
    }
}

/// The last change of a user's devices. A later one replaces it.
///
/// Spec: server-server, "Device Management".
pub(crate) fn device_list_update(
    server_name: &OwnedServerName,
    user_id: &UserId,
    list: &PublishedList,
) -> NewEdu {
    replaceable(
        "m.device_list_update",
        server_name,
        user_id,
        &list.last_update,
    )
}

/// The cross-signing keys of a user. Later ones replace them.
///
/// Spec: server-server, "End-to-End Encryption".
pub(crate) fn signing_key_update(
    server_name: &OwnedServerName,
    user_id: &UserId,
    list: &PublishedList,
) -> NewEdu {
    replaceable(
        "m.signing_key_update",
        server_name,
        user_id,
        &list.signing_keys,
    )
}

/// An EDU with this content, JSON, in the place of the one before about the user.
fn replaceable(
    edu_type: &str,
    server_name: &OwnedServerName,
    user_id: &UserId,
    content: &str,
) -> NewEdu {
    NewEdu {
        server_name: server_name.clone(),
        key: Some(format!("{edu_type} {user_id}")),
        content: format!(r#"{{"edu_type":"{edu_type}","content":{content}}}"#),
    }
}

#[derive(Serialize)]
struct DirectToDevice<'a> {
    sender: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    message_id: &'a str,
    messages: &'a RawValue,
}

#[derive(Serialize)]
struct Edu<'a, C> {
    edu_type: &'a str,
    content: &'a C,
}

fn edu(edu_type: &str, content: &impl Serialize) -> String {
    // Cannot fail: the keys of all maps are strings.
    serde_json::to_string(&Edu { edu_type, content }).unwrap_or_default()
}
