//! What is sent besides events.

use ruma::OwnedServerName;
use serde_json::json;
use storage::deliveries::{NewEdu, SentReceipt};

/// A receipt for a server. A later one of the user in the same thread replaces it.
///
/// Spec: server-server, "Receipts".
pub(crate) fn receipt(server_name: OwnedServerName, sent: &SentReceipt) -> NewEdu {
    let SentReceipt { room_id, receipt } = sent;
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
        content: json!({ "edu_type": "m.receipt", "content": content }).to_string(),
    }
}
