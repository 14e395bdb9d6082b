//! Writes the collected updates as the JSON of `/v3/sync`.

use event::json::JsonWriter;
use live::Reader;
use storage::{one_time_keys::KeyCounts, stream::ToDevice};

use super::{
    V3Query,
    event_writer::EventWriter,
    events::{write_account_data, write_events},
    presence, rooms,
};
use crate::updates::SyncUpdates;

/// The response.
pub(crate) fn write(query: &V3Query<'_>, updates: &SyncUpdates<'_>, now_ms: u64) -> String {
    let event_writer = EventWriter {
        reader: Reader {
            user_id: &query.request.user_id,
            device_id: Some(&query.request.device_id),
        },
        filter: query.filter,
        aggregations: &updates.aggregations,
        now_ms,
    };
    let mut json = JsonWriter::new();
    json.object(|json| {
        if !updates.account_data.is_empty() {
            json.field("account_data");
            let data = updates.account_data.iter();
            write_account_data(
                json,
                data.map(|(event_type, content)| (*event_type, &**content)),
            );
        }
        if !updates.to_device.is_empty() {
            json.field("to_device");
            write_events(json, &updates.to_device, write_to_device);
        }
        if !updates.presence.is_empty() {
            json.field("presence");
            write_events(json, &updates.presence, presence::write);
        }
        let device_lists = &updates.device_lists;
        if !device_lists.changed.is_empty() || !device_lists.left.is_empty() {
            json.field("device_lists").object(|json| {
                for (name, users) in [
                    ("changed", &device_lists.changed),
                    ("left", &device_lists.left),
                ] {
                    json.field(name)
                        .array(users, |json, user_id| json.string(user_id.as_str()));
                }
            });
        }
        if let Some(key_counts) = &updates.key_counts {
            write_key_counts(json, key_counts);
        }
        rooms::write(json, query, &event_writer, &updates.rooms);
        json.field("next_batch").string(&updates.next.to_string());
    });
    json.into_string()
}

pub(crate) fn write_to_device(json: &mut JsonWriter, message: &ToDevice) {
    json.object(|json| {
        json.field("type").string(&message.event_type);
        json.field("sender").string(message.sender.as_str());
        json.field("content").raw(&message.content);
    });
}

/// One-time key counts of the device; in every response.
///
/// Spec: client-server, "Extensions to /sync" of end-to-end encryption.
pub(crate) fn write_key_counts(json: &mut JsonWriter, counts: &KeyCounts) {
    json.field("device_one_time_keys_count").object(|json| {
        for (algorithm, count) in &counts.one_time {
            json.field(algorithm).literal(*count);
        }
    });
    json.field("device_unused_fallback_key_types").array(
        &counts.unused_fallback,
        |json, algorithm| {
            json.string(algorithm);
        },
    );
}
