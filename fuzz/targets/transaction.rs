//! The body of a transaction of another server: the events by the rules of a room version, and the EDUs.
#![no_main]

use event::{Pdu, RoomVersion};
use libfuzzer_sys::fuzz_target;
use ruma::{
    RoomVersionId,
    api::{
        IncomingRequestExt as _, federation::transactions::send_transaction_message::v1::Request,
    },
};

fuzz_target!(|input: (u8, &[u8])| {
    let (number, body) = input;
    let versions: Vec<RoomVersionId> = RoomVersion::supported().collect();
    let version = &versions[usize::from(number) % versions.len()];
    let version = RoomVersion::of(version).expect("supported");
    let request = http::Request::builder()
        .method("PUT")
        .uri("/_matrix/federation/v1/send/1")
        .body(body)
        .expect("a request");
    let Ok(request) = Request::try_from_http_request(request, &["1"]) else {
        return;
    };
    for pdu in &request.pdus {
        let Ok(pdu) = Pdu::parse(pdu.get(), &version) else {
            continue;
        };
        let same = Pdu::parse(pdu.json(), &version).expect("its own text is an event");
        assert_eq!(same.event_id(), pdu.event_id());
        let _ = event::required_signatures(&pdu, &version);
    }
    for edu in &request.edus {
        let _ = edu.deserialize();
    }
});
