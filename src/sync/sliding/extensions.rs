//! Writes what is asked for besides rooms.
//!
//! Spec: MSC3884 (encryption), MSC3885 (to-device messages), MSC3959 (account data), MSC3960 (receipts),
//! MSC3961 (typing).

use event::json::JsonWriter;
use ruma::RoomId;

use super::writer::Response;
use crate::{
    updates::{JoinedRoom, RoomChange, SyncUpdates},
    v3::{
        ephemeral::{write_receipts, write_typing},
        events::write_event,
        writer::{write_key_counts, write_to_device},
    },
};

type RoomData<'u> = (&'u RoomId, &'u [(&'u str, &'u str)]);

/// Whether there is anything that ends a wait.
pub(super) fn has_changes(response: &Response<'_>) -> bool {
    let updates = response.updates;
    updates.key_counts_changed
        || !updates.account_data.is_empty()
        || !updates.to_device.is_empty()
        || !updates.device_lists.changed.is_empty()
        || !updates.device_lists.left.is_empty()
        || room_data(updates).next().is_some()
        || joined(updates).any(|(_, room)| room.typing.is_some() || !room.receipts.is_empty())
}

/// Writes all extensions that are asked for and have anything to tell.
pub(super) fn write(json: &mut JsonWriter, response: &Response<'_>) {
    let (extensions, updates) = (&response.query.request.extensions, response.updates);
    json.object(|json| {
        if extensions.to_device.is_some() {
            json.field("to_device").object(|json| {
                let next = updates.next.to_device();
                json.field("next_batch").string(&format!("d{next}"));
                json.field("events")
                    .array(&updates.to_device, write_to_device);
            });
        }
        if extensions.e2ee {
            write_encryption(json.field("e2ee"), updates);
        }
        if extensions.account_data.is_some() {
            write_account_data(json, updates);
        }
        if extensions.receipts.is_some() {
            let rooms = joined(updates).filter(|(_, room)| !room.receipts.is_empty());
            write_rooms(json, "receipts", rooms, |json, room| {
                write_receipts(json, &room.receipts);
            });
        }
        if extensions.typing.is_some() {
            let rooms = joined(updates);
            let rooms =
                rooms.filter_map(|(room_id, room)| Some((room_id, room.typing.as_deref()?)));
            write_rooms(json, "typing", rooms, |json, users| {
                write_typing(json, users);
            });
        }
    });
}

/// Writes `{"rooms":{…}}` if there is any room.
fn write_rooms<'u, T>(
    json: &mut JsonWriter,
    name: &str,
    rooms: impl Iterator<Item = (&'u RoomId, T)>,
    mut write: impl FnMut(&mut JsonWriter, T),
) {
    let mut rooms = rooms.peekable();
    if rooms.peek().is_none() {
        return;
    }
    json.field(name).object(|json| {
        json.field("rooms").object(|json| {
            for (room_id, item) in rooms {
                write(json.field(room_id.as_str()), item);
            }
        });
    });
}

fn write_encryption(json: &mut JsonWriter, updates: &SyncUpdates<'_>) {
    let device_lists = &updates.device_lists;
    json.object(|json| {
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
    });
}

fn write_account_data(json: &mut JsonWriter, updates: &SyncUpdates<'_>) {
    let mut rooms = room_data(updates).peekable();
    if updates.account_data.is_empty() && rooms.peek().is_none() {
        return;
    }
    let write_data = |json: &mut JsonWriter, (event_type, content): (&str, &str)| {
        write_event(json, event_type, |json| json.raw(content));
    };
    json.field("account_data").object(|json| {
        let global = updates.account_data.iter();
        let global = global.map(|(event_type, content)| (*event_type, &**content));
        json.field("global").array(global, write_data);
        json.field("rooms").object(|json| {
            for (room_id, data) in rooms {
                json.field(room_id.as_str())
                    .array(data.iter().copied(), write_data);
            }
        });
    });
}

/// The rooms with account data that is new.
fn room_data<'u>(updates: &'u SyncUpdates<'_>) -> impl Iterator<Item = RoomData<'u>> {
    updates.rooms.iter().filter_map(|update| {
        let data: &[(&str, &str)] = match &update.change {
            RoomChange::Joined(room) => &room.account_data,
            RoomChange::Left(room) => &room.account_data,
            RoomChange::AccountData(data) => data,
            RoomChange::Invited(_) | RoomChange::Knocked(_) => &[],
        };
        (!data.is_empty()).then_some((update.room_id, data))
    })
}

/// The joined rooms.
fn joined<'u>(
    updates: &'u SyncUpdates<'_>,
) -> impl Iterator<Item = (&'u RoomId, &'u JoinedRoom<'u>)> {
    updates
        .rooms
        .iter()
        .filter_map(|update| match &update.change {
            RoomChange::Joined(room) => Some((update.room_id, &**room)),
            _ => None,
        })
}
