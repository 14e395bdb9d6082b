//! Filters: the first line is an event type, the rest the filter.
#![no_main]

use event::filter::{EventFilter, RoomFilter, lazy_loads_members};
use libfuzzer_sys::fuzz_target;
use ruma::{api::client::filter::FilterDefinition, room_id};

fuzz_target!(|input: &str| {
    let (event_type, filter) = input.split_once('\n').unwrap_or(("", input));
    let Ok(definition) = serde_json::from_str::<FilterDefinition>(filter) else {
        return;
    };
    let room = &definition.room;
    let of_rooms = [
        &room.timeline,
        &room.state,
        &room.ephemeral,
        &room.account_data,
    ];
    let of_rooms = of_rooms.map(|filter| (EventFilter::from(filter), lazy_loads_members(filter)));
    let of_rooms = of_rooms.into_iter().map(|(filter, _)| filter);
    let others = [&definition.account_data, &definition.presence].map(EventFilter::from);
    for filter in of_rooms.chain(others) {
        assert!(filter.allows_type(event_type) || !filter.allows_all_events());
        let _ = filter.allows_room(room_id!("!r:a.org"));
    }
    let _ =
        RoomFilter::new(room.rooms.as_deref(), &room.not_rooms).allows_room(room_id!("!r:a.org"));
});
