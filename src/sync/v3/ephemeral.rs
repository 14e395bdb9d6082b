//! Writes the ephemeral events of a room: typing users and receipts.
//!
//! Spec: client-server, "Typing Notifications" and "Receipts".

use std::collections::BTreeMap;

use event::json::JsonWriter;
use ruma::UserId;
use storage::stream::Receipt;

use super::events::write_event;
use crate::updates::JoinedRoom;

/// Writes the ephemeral events of a room that are new.
pub(super) fn write(json: &mut JsonWriter, room: &JoinedRoom<'_>) {
    json.object(|json| {
        // An array of up to two events, each written if there is anything to tell.
        let (typing, receipts) = (room.typing.as_deref(), room.receipts.as_slice());
        let receipts = (!receipts.is_empty()).then_some(receipts);
        let events = typing.map(Ephemeral::Typing).into_iter();
        let events = events.chain(receipts.map(Ephemeral::Receipts));
        json.field("events")
            .array(events, |json, event| match event {
                Ephemeral::Typing(users) => write_typing(json, users),
                Ephemeral::Receipts(receipts) => write_receipts(json, receipts),
            });
    });
}

enum Ephemeral<'a> {
    Typing(&'a [&'a UserId]),
    Receipts(&'a [&'a Receipt]),
}

/// Writes an `m.typing` event.
pub(crate) fn write_typing(json: &mut JsonWriter, users: &[&UserId]) {
    write_event(json, "m.typing", |json| {
        json.object(|json| {
            json.field("user_ids")
                .array(users, |json, user_id| json.string(user_id.as_str()));
        });
    });
}

type Receipts<'a> = BTreeMap<&'a str, BTreeMap<&'a str, BTreeMap<&'a UserId, &'a Receipt>>>;

/// Writes an `m.receipt` event.
pub(crate) fn write_receipts(json: &mut JsonWriter, receipts: &[&Receipt]) {
    write_event(json, "m.receipt", |json| {
        json.object(|json| {
            for (event_id, types) in by_event(receipts) {
                json.field(event_id).object(|json| {
                    for (receipt_type, users) in types {
                        json.field(receipt_type).object(|json| {
                            for (user_id, receipt) in users {
                                write_receipt(json.field(user_id.as_str()), receipt);
                            }
                        });
                    }
                });
            }
        });
    });
}

/// The receipts by event, type and user.
fn by_event<'a>(receipts: &[&'a Receipt]) -> Receipts<'a> {
    let mut events: Receipts<'_> = BTreeMap::new();
    for receipt in receipts {
        let types = events.entry(receipt.event_id.as_str()).or_default();
        let users = types.entry(receipt.receipt_type.as_str()).or_default();
        // Of two receipts of one user for one event only one can be returned: the one that counts for
        // all threads, or else the later one.
        let newest = users.entry(&receipt.user_id).or_insert(receipt);
        if !newest.thread_id.is_empty() {
            *newest = receipt;
        }
    }
    events
}

fn write_receipt(json: &mut JsonWriter, receipt: &Receipt) {
    json.object(|json| {
        json.field("ts").literal(receipt.ts);
        if !receipt.thread_id.is_empty() {
            json.field("thread_id").string(&receipt.thread_id);
        }
    });
}
