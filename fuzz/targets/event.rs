//! Events from outside: parsed by the rules of a room version, stored, read, redacted, rendered, related.
#![no_main]

use event::{ClientEvent, Pdu, RoomVersion, redact, view::stripped};
use libfuzzer_sys::fuzz_target;
use ruma::RoomVersionId;
use serde_json::Value;

fuzz_target!(|input: (u8, &str)| {
    let (number, text) = input;
    let versions: Vec<RoomVersionId> = RoomVersion::supported().collect();
    let version = &versions[usize::from(number) % versions.len()];
    let version = RoomVersion::of(version).expect("supported");
    let Ok(pdu) = Pdu::parse(text, &version) else {
        return;
    };
    let same = Pdu::parse(pdu.json(), &version).expect("its own text is an event");
    assert_eq!(same.event_id(), pdu.event_id());
    assert_eq!(same.json(), pdu.json());

    let (event_id, room_id) = (pdu.event_id().clone(), pdu.room_id().clone());
    let stored = Pdu::from_stored(event_id, room_id, pdu.json().into()).expect("as it was stored");
    assert_eq!(stored.content_text(), pdu.content_text());
    assert_eq!(stored.state_key(), pdu.state_key());

    if let Ok(redacted) = redact(&version, &pdu) {
        assert_eq!(redacted.event_id(), pdu.event_id());
        let twice = redact(&version, &redacted).expect("redacted again");
        assert_eq!(twice.json(), redacted.json());
    }

    let mut rendered = String::new();
    ClientEvent::of(&pdu).write(&mut rendered);
    let rendered: Value = serde_json::from_str(&rendered).expect("JSON");
    assert_eq!(rendered["type"], pdu.event_type());
    let mut summary = String::new();
    stripped(&pdu, &mut summary);
    serde_json::from_str::<Value>(&summary).expect("JSON");

    let _ = (pdu.relation(), pdu.has_url(), event::push::flatten(&pdu));
});
