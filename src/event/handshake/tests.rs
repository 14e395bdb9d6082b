use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{
    ContentHash, ServerKeys, VerifyKey, auth,
    fixture::{ALICE, BOB, Room, signer, time, user},
    verify_event,
};

const DORA: &str = "@dora:elsewhere.org";

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

fn keys() -> ServerKeys {
    let key = VerifyKey::expired(&signer("a").public_key_base64(), time(1_000_000)).unwrap();
    ["example.org", "elsewhere.org"]
        .map(|server| {
            let keys = [("ed25519:1".to_owned(), key.clone())].into();
            (server.try_into().unwrap(), keys)
        })
        .into()
}

fn request(room: &Room, membership: MembershipState) -> MembershipRequest {
    MembershipRequest {
        room_id: room
            .state
            .get("m.room.create", "")
            .unwrap()
            .room_id()
            .clone(),
        user_id: DORA.try_into().unwrap(),
        membership,
    }
}

/// The template that the server of the room makes.
fn template(room: &Room, request: &MembershipRequest, via: Option<&UserId>) -> String {
    let content = request.content(via).unwrap();
    let auth_events = auth::select_auth_events(
        &room.version,
        &room.state,
        &TimelineEventType::RoomMember,
        &request.user_id,
        Some(DORA),
        &content,
    );
    let id = |event: &Arc<Pdu>| event.event_id().clone();
    let parents = Parents {
        prev_events: room.state.iter().map(id).take(1).collect(),
        auth_events: auth_events.unwrap().iter().map(id).collect(),
        reference_hashes: room.reference_hashes(),
        depth: 17,
    };
    let residence = Residence {
        server_name: "example.org".try_into().unwrap(),
        authorised_via: via,
        parents: &parents,
        now: time(5),
    };
    request.clone().template(&room.version, &residence).unwrap()
}

fn complete(room: &Room, request: &MembershipRequest, template: &str) -> Result<Pdu, FormatError> {
    let content = raw(&json!({"displayname": "Dora", "membership": "ban", AUTHORISED_VIA: BOB}));
    let signer = signer("elsewhere.org");
    request.complete(&room.version, template, &content, time(9), &signer)
}

fn content(event: &Pdu) -> Value {
    event.content_as().unwrap()
}

#[test]
fn a_template_is_completed_to_an_event_that_the_room_takes() {
    for number in RoomVersion::supported() {
        let room = Room::new(number.as_str());
        let request = request(&room, MembershipState::Join);
        let template = template(&room, &request, None);
        let json: Value = serde_json::from_str(&template).unwrap();
        assert_eq!(json["origin"], "example.org");
        assert!(json.get("hashes").is_none() && json.get("signatures").is_none());
        let join = complete(&room, &request, &template).unwrap();
        assert_eq!(
            content(&join),
            json!({"displayname": "Dora", "membership": "join"})
        );
        assert_eq!((join.depth(), join.origin_server_ts()), (17, time(9)));
        assert!(!join.json().contains("origin\":"));
        assert_eq!(
            verify_event(&join, &room.version, &keys()).unwrap(),
            ContentHash::Matches
        );
        auth::check_local(&room.version, &join, &room.state).unwrap();
        let origin = "elsewhere.org".try_into().unwrap();
        check_sent(&join, &request.room_id, &request.membership, origin).unwrap();
    }
}

#[test]
fn a_template_of_something_else_is_refused() {
    let room = Room::new("11");
    let request = request(&room, MembershipState::Join);
    let good = template(&room, &request, None);
    for (pointer, value) in [
        ("/type", json!("m.room.power_levels")),
        ("/room_id", json!("!other:example.org")),
        ("/sender", json!(BOB)),
        ("/state_key", json!(BOB)),
        ("/state_key", Value::Null),
        ("/content", json!("x")),
        ("/content/membership", json!("leave")),
        ("/depth", json!(-1)),
        ("/prev_events", json!("$x")),
        ("/auth_events", json!(vec!["$x"; 11])),
    ] {
        let mut bad: Value = serde_json::from_str(&good).unwrap();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert!(
            complete(&room, &request, &bad.to_string()).is_err(),
            "{bad}"
        );
    }
    assert!(complete(&room, &request, "[]").is_err());
}

#[test]
fn nothing_else_is_taken_from_a_template() {
    let room = Room::new("11");
    let request = request(&room, MembershipState::Knock);
    let mut evil: Value = serde_json::from_str(&template(&room, &request, None)).unwrap();
    for field in [
        "redacts",
        "unsigned",
        "hashes",
        "signatures",
        "event_id",
        "x",
    ] {
        evil[field] = json!({"a": 1});
    }
    evil["content"]["reason"] = json!("not mine");
    let knock = complete(&room, &request, &evil.to_string()).unwrap();
    let json: Value = serde_json::from_str(knock.json()).unwrap();
    for field in ["redacts", "unsigned", "event_id", "x"] {
        assert!(json.get(field).is_none(), "{field}");
    }
    assert_eq!(
        content(&knock),
        json!({"displayname": "Dora", "membership": "knock"})
    );
}

#[test]
fn a_restricted_join_is_signed_by_both_servers() {
    let room = Room::new("11");
    let request = request(&room, MembershipState::Join);
    let template = template(&room, &request, Some(user(ALICE)));
    let join = complete(&room, &request, &template).unwrap();
    assert_eq!(authorised_via(&join).unwrap(), ALICE);
    assert!(verify_event(&join, &room.version, &keys()).is_err());
    let signed = countersign(&join, &room.version, &signer("example.org")).unwrap();
    assert_eq!(signed.event_id(), join.event_id());
    assert!(verify_event(&signed, &room.version, &keys()).is_ok());
    let merged = merge_signatures(&join, signed.json(), &room.version).unwrap();
    assert_eq!(merged.json(), signed.json());
    let renamed = signed.json().replace("Dora", "Eve");
    assert!(merge_signatures(&join, &renamed, &room.version).is_err());
    // A copy cannot take our own signature away.
    let mut stripped: Value = serde_json::from_str(signed.json()).unwrap();
    stripped["signatures"]["elsewhere.org"] = json!({"ed25519:1": "junk"});
    let merged = merge_signatures(&join, &stripped.to_string(), &room.version).unwrap();
    assert_eq!(merged.json(), signed.json());
    let plain = room.state.get("m.room.member", ALICE).unwrap();
    assert_eq!(authorised_via(plain), None);
}

#[test]
fn what_is_sent_must_be_the_own_membership_of_a_user_of_the_origin() {
    let mut room = Room::new("12");
    let room_id = room
        .state
        .get("m.room.create", "")
        .unwrap()
        .room_id()
        .clone();
    let join = room.join(DORA).unwrap();
    let check = |event: &Pdu, membership: MembershipState, origin: &str| {
        check_sent(event, &room_id, &membership, origin.try_into().unwrap())
    };
    check(&join, MembershipState::Join, "elsewhere.org").unwrap();
    assert!(check(&join, MembershipState::Leave, "elsewhere.org").is_err());
    assert!(check(&join, MembershipState::Join, "example.org").is_err());
    let kick = room.build(
        ALICE,
        "m.room.member",
        Some(DORA),
        json!({"membership": "leave"}),
    );
    assert!(check(&kick.unwrap(), MembershipState::Leave, "example.org").is_err());
    let message = room.build(DORA, "m.room.message", None, json!({"membership": "join"}));
    assert!(check(&message.unwrap(), MembershipState::Join, "elsewhere.org").is_err());
    let other = <&RoomId>::try_from("!other").unwrap();
    let origin = "elsewhere.org".try_into().unwrap();
    assert!(check_sent(&join, other, &MembershipState::Join, origin).is_err());
}

#[test]
fn only_invites_of_own_users_by_users_of_the_origin_are_signed() {
    let room = Room::new("11");
    let room_id = room
        .state
        .get("m.room.create", "")
        .unwrap()
        .room_id()
        .clone();
    let invite = |membership: &str, target: &str| {
        let content = json!({"membership": membership});
        room.build(ALICE, "m.room.member", Some(target), content)
            .unwrap()
    };
    let [here, there] = ["example.org", "elsewhere.org"].map(|name| name.try_into().unwrap());
    let good = invite("invite", DORA);
    check_invite(&good, &room_id, here, there).unwrap();
    let signed = countersign(&good, &room.version, &signer("elsewhere.org")).unwrap();
    assert!(signed.json().contains("elsewhere.org\":{\"ed25519:1\""));
    assert!(check_invite(&good, &room_id, there, there).is_err());
    assert!(check_invite(&good, &room_id, here, here).is_err());
    assert!(check_invite(&invite("join", DORA), &room_id, here, there).is_err());
    assert!(check_invite(&invite("invite", "junk"), &room_id, here, there).is_err());
}

#[test]
fn stripped_state_has_the_create_event_of_the_room() {
    let room = Room::new("12");
    let create = room.state.get("m.room.create", "").unwrap();
    let (create, room_id) = (create.clone(), create.room_id().clone());
    let member = room.state.get("m.room.member", ALICE).unwrap().clone();
    check_stripped_state(&room_id, &[member.clone(), create.clone()]).unwrap();
    assert!(check_stripped_state(&room_id, std::slice::from_ref(&member)).is_err());
    let other = Room::with_create_event("12", json!({"other": 1}));
    let other = other.state.get("m.room.create", "").unwrap().clone();
    assert!(check_stripped_state(&room_id, &[create, other]).is_err());
}
