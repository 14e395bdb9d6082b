//! Ephemeral events of a room: typing users and receipts.
//!
//! Spec: client-server, "Typing Notifications" and "Receipts".

use std::collections::BTreeMap;

use event::view::push_json_string;
use live::Room;
use ruma::UserId;
use storage::stream::Receipt;
use types::StreamPosition;

use crate::{
    context::SyncContext,
    response::{push_field, push_list, push_type_and_content},
};

/// Appends the ephemeral events of a room that are new; receipts count from `after` on.
pub(super) fn write(
    out: &mut String,
    context: &SyncContext<'_>,
    room: &Room,
    after: StreamPosition,
) -> bool {
    let event_filter = &context.filter.ephemeral;
    out.push_str("{\"events\":[");
    let start = out.len();
    if event_filter.allows_room(room.room_id()) {
        if event_filter.allows_type("m.typing") {
            typing(out, context, room);
        }
        if event_filter.allows_type("m.receipt") {
            receipts(out, context, room, after, start);
        }
    }
    let has_changes = out.len() > start;
    out.push_str("]}");
    has_changes
}

fn typing(out: &mut String, context: &SyncContext<'_>, room: &Room) {
    let Some(users) = context.view.typing.get(&room.room_nid()) else {
        return;
    };
    // An initial sync omits an empty list.
    if users.is_empty() && context.since.is_none() {
        return;
    }
    let mut content = String::from("{\"user_ids\":[");
    let visible = users
        .iter()
        .filter(|user_id| !context.view.user.ignores(user_id));
    push_list(&mut content, visible, |out, user_id| {
        push_json_string(out, user_id.as_str());
    });
    content.push_str("]}");
    push_type_and_content(out, "m.typing", &content);
}

type Receipts<'a> = BTreeMap<&'a str, BTreeMap<&'a str, BTreeMap<&'a UserId, &'a Receipt>>>;

fn receipts(
    out: &mut String,
    context: &SyncContext<'_>,
    room: &Room,
    after: StreamPosition,
    start: usize,
) {
    let reader = &context.request.user_id;
    let mut events: Receipts<'_> = BTreeMap::new();
    let visible = room
        .receipts_after(after)
        .filter(|receipt| receipt.receipt_type != "m.read.private" || receipt.user_id == *reader);
    for receipt in visible {
        let types = events.entry(receipt.event_id.as_str()).or_default();
        let users = types.entry(receipt.receipt_type.as_str()).or_default();
        // Of two receipts of one user for one event only one can be returned: the one that counts for
        // all threads, or else the later one.
        let newest = users.entry(&receipt.user_id).or_insert(receipt);
        if !newest.thread_id.is_empty() {
            *newest = receipt;
        }
    }
    if events.is_empty() {
        return;
    }
    let mut content = String::from("{");
    for (event_id, types) in events {
        push_field(&mut content, event_id);
        content.push('{');
        for (receipt_type, users) in types {
            push_field(&mut content, receipt_type);
            content.push('{');
            for (user_id, receipt) in users {
                push_field(&mut content, user_id.as_str());
                push_receipt(&mut content, receipt);
            }
            content.push('}');
        }
        content.push('}');
    }
    content.push('}');
    if out.len() > start {
        out.push(',');
    }
    push_type_and_content(out, "m.receipt", &content);
}

fn push_receipt(out: &mut String, receipt: &Receipt) {
    out.push_str("{\"ts\":");
    out.push_str(&receipt.ts.to_string());
    if !receipt.thread_id.is_empty() {
        out.push_str(",\"thread_id\":");
        push_json_string(out, &receipt.thread_id);
    }
    out.push('}');
}
