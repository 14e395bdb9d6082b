use serde_json::{Value, json};

use super::*;
use crate::fixture::{ALICE, BOB, CAROL, Room};

mod members;
mod power;

const ALL: [&str; 10] = ["3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];

fn denied<T: std::fmt::Debug>(result: Result<T, Denied>, reason: &str) {
    let Denied(text) = result.unwrap_err();
    assert!(text.contains(reason), "{text}");
}

fn rules(room: &mut Room, rule: &str) {
    room.set(ALICE, "m.room.join_rules", "", json!({"join_rule": rule}))
        .unwrap();
}

/// The event with one top-level field changed, as if another server had sent it so.
fn altered(room: &Room, event: &Pdu, field: &str, value: Value) -> Pdu {
    let mut json: Value = serde_json::from_str(event.json()).unwrap();
    json[field] = value;
    Pdu::parse(&json.to_string(), &room.version).unwrap()
}

fn check_here(room: &Room, event: &Pdu) -> Result<(), Denied> {
    check(
        &room.version,
        event,
        &|event_type, key| room.state.event(event_type, key),
        &|id| room.fetch(id),
    )
}

#[test]
fn a_room_can_be_made_in_every_version() {
    for number in ALL {
        let mut room = Room::new(number);
        room.join(BOB).unwrap();
        room.message(BOB).unwrap();
        denied(room.message(CAROL), "membership");
    }
}

#[test]
fn the_create_event_comes_first_and_from_the_server_of_the_room() {
    for number in ["6", "11", "12"] {
        let room = Room::with_create_event(number, json!({}));
        let create = room.state.get("m.room.create", "").unwrap().clone();
        check_here(&room, &create).unwrap();
        let late = altered(&room, &create, "prev_events", json!(["$a"]));
        denied(check_here(&room, &late), "previous events");
    }
    let room = Room::with_create_event("11", json!({}));
    let create = room.state.get("m.room.create", "").unwrap().clone();
    let stolen = altered(&room, &create, "room_id", json!("!room:elsewhere.org"));
    denied(check_here(&room, &stolen), "server name");
    let room = Room::with_create_event("12", json!({}));
    let create = room.state.get("m.room.create", "").unwrap().clone();
    let named = altered(&room, &create, "room_id", json!("!room:example.org"));
    denied(check_here(&room, &named), "room_id");
}

#[test]
fn the_creator_field_is_required_before_version_11() {
    let room = Room::with_create_event("10", json!({}));
    let create = room.state.get("m.room.create", "").unwrap().clone();
    let anonymous = altered(&room, &create, "content", json!({"room_version": "10"}));
    denied(check_here(&room, &anonymous), "creator");
}

#[test]
fn additional_creators_must_be_user_ids() {
    for bad in [json!("@bob:example.org"), json!(["bob"]), json!([5])] {
        let room = Room::with_create_event("12", json!({}));
        let create = room.state.get("m.room.create", "").unwrap().clone();
        let content = json!({"room_version": "12", "additional_creators": bad});
        denied(
            check_here(&room, &altered(&room, &create, "content", content)),
            "creators",
        );
    }
}

#[test]
fn a_room_that_does_not_federate_keeps_other_servers_out() {
    let mut room = Room::with_create_event("12", json!({"m.federate": false}));
    room.join(ALICE).unwrap();
    rules(&mut room, "public");
    room.join(BOB).unwrap();
    denied(room.join("@dora:elsewhere.org"), "not federated");
}

#[test]
fn state_of_another_user_cannot_be_set() {
    let mut room = Room::new("12");
    let content = json!({});
    room.set(ALICE, "org.example", ALICE, content.clone())
        .unwrap();
    denied(room.set(ALICE, "org.example", BOB, content), "state_key");
}

#[test]
fn the_auth_events_are_those_of_the_specification() {
    let version = crate::fixture::version;
    let types = |number: &str, event_type: &str, content: Value| -> Vec<String> {
        let content = serde_json::value::to_raw_value(&content).unwrap();
        let sender = crate::fixture::user(ALICE);
        let key = (event_type == "m.room.member").then_some(BOB);
        let places =
            auth_types(&version(number), &event_type.into(), sender, key, &content).unwrap();
        places
            .into_iter()
            .map(|(event_type, key)| format!("{event_type}|{key}"))
            .collect()
    };
    let levels = "m.room.power_levels|";
    let create = "m.room.create|";
    let rules = "m.room.join_rules|";
    let alice = "m.room.member|@alice:example.org";
    let bob = "m.room.member|@bob:example.org";
    assert_eq!(
        types("11", "m.room.message", json!({})),
        [levels, alice, create]
    );
    assert_eq!(types("12", "m.room.message", json!({})), [levels, alice]);
    assert!(types("12", "m.room.create", json!({})).is_empty());
    assert_eq!(
        types("12", "m.room.member", json!({"membership": "ban"})),
        [levels, alice, bob]
    );
    assert_eq!(
        types("12", "m.room.member", json!({"membership": "invite"})),
        [levels, alice, bob, rules]
    );
    let content = json!({"membership": "join", "join_authorised_via_users_server": CAROL});
    let carol = "m.room.member|@carol:example.org";
    assert_eq!(
        types("12", "m.room.member", content.clone()),
        [levels, alice, bob, rules, carol]
    );
    assert_eq!(
        types("7", "m.room.member", content),
        [levels, alice, create, bob, rules]
    );
}

#[test]
fn auth_events_must_be_known_fitting_unique_and_accepted() {
    let mut room = Room::new("11");
    let message = room.message(ALICE).unwrap();
    let ids: Vec<_> = message
        .auth_events()
        .iter()
        .map(ToString::to_string)
        .collect();
    let with = |ids: Vec<String>| altered(&room, &message, "auth_events", json!(ids));
    check_here(&room, &with(ids.clone())).unwrap();

    let mut unknown = ids.clone();
    unknown.push("$unknown".to_owned());
    denied(check_here(&room, &with(unknown)), "failed to find");
    let mut twice = ids.clone();
    twice.extend(ids.first().cloned());
    denied(check_here(&room, &with(twice)), "duplicate");
    let mut unfit = ids.clone();
    unfit.push(
        room.state
            .get("m.room.join_rules", "")
            .unwrap()
            .event_id()
            .to_string(),
    );
    denied(check_here(&room, &with(unfit)), "unexpected");
    denied(check_here(&room, &with(Vec::new())), "m.room.create");

    let refused = check(
        &room.version,
        &message,
        &|event_type, key| room.state.event(event_type, key),
        &|id| {
            room.fetch(id)
                .map(|event| Arc::new(Pdu::clone(&event).with_verdict(crate::Verdict::Rejected)))
        },
    );
    denied(refused, "rejected");
}

#[test]
fn an_auth_event_of_another_room_is_refused() {
    let mut room = Room::new("11");
    let message = room.message(ALICE).unwrap();
    let other = RoomVersion::clone(&room.version);
    let moved = message
        .json()
        .replace("!room:example.org", "!other:example.org");
    denied(
        check_here(&room, &Pdu::parse(&moved, &other).unwrap()),
        "same room",
    );
}

#[test]
fn version_12_needs_its_create_event() {
    let mut room = Room::new("12");
    let message = room.message(ALICE).unwrap();
    let create = room
        .state
        .get("m.room.create", "")
        .unwrap()
        .event_id()
        .clone();
    // Found in the state although the caller knows only what the event names.
    check_local(&room.version, &message, &room.state).unwrap();
    let others = |id: &EventId| room.fetch(id).filter(|_| *id != *create);
    denied(
        check_state_independent(&room.version, &message, &others),
        "m.room.create",
    );
}
