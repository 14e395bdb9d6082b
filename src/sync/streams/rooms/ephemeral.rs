//! What is not part of a room's history: who types, who has read up to where.
//!
//! Spec: client-server, "Typing Notifications" and "Receipts".

use std::collections::BTreeMap;

use event::view::push_json_string;
use live::Room;
use ruma::UserId;
use storage::stream::Receipt;
use types::StreamPosition;

use crate::{
    answer::{push_field, push_list, push_plain_event},
    v3::Ask,
};

/// Appends the ephemeral events of a room that are new; receipts count from `after` on.
pub(super) fn write(out: &mut String, ask: &Ask<'_>, room: &Room, after: StreamPosition) -> bool {
    let rules = &ask.filter.ephemeral;
    out.push_str("{\"events\":[");
    let start = out.len();
    if rules.room_allowed(room.room_id()) {
        if rules.kind("m.typing") {
            typing(out, ask, room);
        }
        if rules.kind("m.receipt") {
            receipts(out, ask, room, after, start);
        }
    }
    let has_news = out.len() > start;
    out.push_str("]}");
    has_news
}

fn typing(out: &mut String, ask: &Ask<'_>, room: &Room) {
    let Some(users) = ask.look.typing.get(&room.room_nid()) else {
        return;
    };
    // A client that knows nothing yet need not hear that nobody types.
    if users.is_empty() && ask.since.is_none() {
        return;
    }
    let mut content = String::from("{\"user_ids\":[");
    let seen = users
        .iter()
        .filter(|user_id| !ask.look.user.ignores(user_id));
    push_list(&mut content, seen, |out, user_id| {
        push_json_string(out, user_id.as_str());
    });
    content.push_str("]}");
    push_plain_event(out, "m.typing", &content);
}

type Receipts<'a> = BTreeMap<&'a str, BTreeMap<&'a str, BTreeMap<&'a UserId, &'a Receipt>>>;

fn receipts(out: &mut String, ask: &Ask<'_>, room: &Room, after: StreamPosition, start: usize) {
    let reader = &ask.request.user_id;
    let mut events: Receipts<'_> = BTreeMap::new();
    let told = room
        .receipts_after(after)
        .filter(|receipt| receipt.receipt_type != "m.read.private" || receipt.user_id == *reader);
    for receipt in told {
        let types = events.entry(receipt.event_id.as_str()).or_default();
        let users = types.entry(receipt.receipt_type.as_str()).or_default();
        // Of two receipts of one user for one event only one can be told: the one that counts for
        // all threads, or else the later one.
        let told = users.entry(&receipt.user_id).or_insert(receipt);
        if !told.thread_id.is_empty() {
            *told = receipt;
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
    push_plain_event(out, "m.receipt", &content);
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
