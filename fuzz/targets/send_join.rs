//! The answer to `send_join`: the state of a room and its auth chain, by the rules of a room version.
#![no_main]

use event::{Pdu, RoomVersion};
use libfuzzer_sys::fuzz_target;
use ruma::{
    RoomVersionId,
    api::{IncomingResponseExt as _, federation::membership::create_join_event::v2::Response},
};

fuzz_target!(|input: (u8, &[u8])| {
    let (number, body) = input;
    let versions: Vec<RoomVersionId> = RoomVersion::supported().collect();
    let version = &versions[usize::from(number) % versions.len()];
    let version = RoomVersion::of(version).expect("supported");
    let Ok(response) = Response::try_from_http_response(http::Response::new(body)) else {
        return;
    };
    let room = response.room_state;
    for pdu in room.state.iter().chain(&room.auth_chain).chain(&room.event) {
        let Ok(pdu) = Pdu::parse(pdu.get(), &version) else {
            continue;
        };
        let same = Pdu::parse(pdu.json(), &version).expect("its own text is an event");
        assert_eq!(same.event_id(), pdu.event_id());
        let _ = event::required_signatures(&pdu, &version);
    }
});
