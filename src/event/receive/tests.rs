use serde_json::json;

use super::*;
use crate::{
    Draft, Parents, VerifyKey,
    fixture::{ALICE, BOB, CAROL, Room, draft, signer, time, version},
};

fn keys() -> ServerKeys {
    let key = VerifyKey::expired(&signer("a").public_key_base64(), time(1_000_000)).unwrap();
    let keys = [("ed25519:1".to_owned(), key)].into();
    [("example.org".try_into().unwrap(), keys)].into()
}

fn check(room: &Room, event: &Pdu) -> Result<(), AuthEventsError> {
    let create = room.state.get("m.room.create", "");
    check_auth_events(&room.version, event, create, &|id| room.fetch(id))
}

/// A message of Alice that names these auth events.
fn naming(room: &Room, auth_events: &[&Arc<Pdu>]) -> Pdu {
    let content = json!({"body": "hi"});
    let create = room.state.get("m.room.create", "").unwrap();
    let parents = Parents {
        prev_events: vec![create.event_id().clone()],
        auth_events: auth_events
            .iter()
            .map(|event| event.event_id().clone())
            .collect(),
        reference_hashes: room.reference_hashes(),
        depth: 9,
    };
    Draft {
        room_id: Some(create.room_id().clone()),
        ..draft(ALICE, "m.room.message", None, &content)
    }
    .build(&room.version, parents, &signer("example.org"))
    .unwrap()
}

fn auth_events(room: &Room) -> Vec<Arc<Pdu>> {
    let event = room
        .build(ALICE, "m.room.message", None, json!({}))
        .unwrap();
    event
        .auth_events()
        .iter()
        .map(|id| room.fetch(id).unwrap())
        .collect()
}

#[test]
fn an_event_with_a_wrong_hash_is_redacted() {
    for number in ["1", "5", "6", "12"] {
        let mut room = Room::new(number);
        let event = room.message(ALICE).unwrap();
        let kept = verify((*event).clone(), &room.version, &keys()).unwrap();
        assert_eq!(kept.json(), event.json());
        let edited = event.json().replace("hello", "hullo");
        let edited = Pdu::parse(&edited, &room.version).unwrap();
        let kept = verify(edited, &room.version, &keys()).unwrap();
        assert_eq!(kept.content_text(), "{}");
        assert_eq!(kept.event_id(), event.event_id());
        let forged = event.json().replace("\"depth\":5", "\"depth\":6");
        let forged = Pdu::parse(&forged, &room.version).unwrap();
        assert!(verify(forged, &room.version, &keys()).is_err());
        assert!(verify((*event).clone(), &room.version, &ServerKeys::new()).is_err());
    }
}

#[test]
fn every_event_of_a_room_is_allowed_by_its_auth_events() {
    for number in RoomVersion::supported() {
        let mut room = Room::new(number.as_str());
        room.join(BOB).unwrap();
        room.member(ALICE, BOB, "ban").unwrap();
        room.message(ALICE).unwrap();
        for event in room.events.values() {
            check(&room, event).unwrap();
        }
    }
}

#[test]
fn auth_events_that_are_not_known_are_named() {
    let mut room = Room::new("11");
    let event = room.message(ALICE).unwrap();
    let gone = event.auth_events()[1].clone();
    room.events.remove(&gone);
    match check(&room, &event) {
        Err(AuthEventsError::Missing(missing)) => assert_eq!(missing, [gone]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn duplicate_extraneous_rejected_and_absent_auth_events_reject() {
    for number in ["1", "6", "11", "12"] {
        let mut room = Room::new(number);
        let old = room.state.get("m.room.power_levels", "").unwrap().clone();
        let rule = room.state.get("m.room.join_rules", "").unwrap().clone();
        room.set(
            ALICE,
            "m.room.power_levels",
            "",
            json!({"users": {}, "ban": 51}),
        )
        .unwrap();
        let good = auth_events(&room);
        let denied = |room: &Room, auth_events: &[&Arc<Pdu>]| {
            matches!(
                check(room, &naming(room, auth_events)),
                Err(AuthEventsError::Denied(_))
            )
        };
        let good: Vec<&Arc<Pdu>> = good.iter().collect();
        assert!(!denied(&room, &good), "version {number}");
        assert!(
            denied(&room, &[&good[..], &[&old]].concat()),
            "a duplicate key"
        );
        assert!(
            denied(&room, &[&good[..], &[good[0]]].concat()),
            "the same twice"
        );
        assert!(
            denied(&room, &[&good[..], &[&rule]].concat()),
            "not one of the selection"
        );
        assert!(denied(&room, &[]), "neither create event nor membership");
        for event in &good {
            let mut room = room.clone();
            let rejected = (***event).clone().with_verdict(Verdict::Rejected);
            room.events
                .insert(event.event_id().clone(), rejected.into());
            assert!(denied(&room, &good), "{} is rejected", event.event_type());
        }
    }
}

#[test]
fn auth_events_of_another_room_reject() {
    let room = Room::new("12");
    let mut other = Room::with_create_event("12", json!({"other": true}));
    other.join(ALICE).unwrap();
    let member = other.state.get("m.room.member", ALICE).unwrap();
    let mut both = room.clone();
    both.merge_events(&other);
    let event = naming(&room, &[member]);
    assert!(matches!(
        check(&both, &event),
        Err(AuthEventsError::Denied(_))
    ));
}

#[test]
fn a_create_event_that_was_rejected_rejects_since_version_12() {
    let mut room = Room::new("12");
    let event = room.message(ALICE).unwrap();
    let create = room.state.get("m.room.create", "").unwrap();
    let rejected = (**create).clone().with_verdict(Verdict::Rejected);
    let result = check_auth_events(&room.version, &event, Some(&rejected.into()), &|id| {
        room.fetch(id)
    });
    assert!(matches!(result, Err(AuthEventsError::Denied(_))));
    let result = check_auth_events(&room.version, &event, None, &|id| room.fetch(id));
    assert!(matches!(result, Err(AuthEventsError::Denied(_))));
}

#[test]
fn the_state_before_rejects_and_the_current_state_soft_fails() {
    let mut room = Room::new("11");
    for user in [BOB, CAROL] {
        room.join(user).unwrap();
    }
    let before = room.state.clone();
    let event = room.build(BOB, "m.room.message", None, json!({})).unwrap();
    room.member(ALICE, BOB, "ban").unwrap();
    let verdict = |before: &State, current: &State| {
        let (verdict, denied) = judge(&version("11"), &event, before, current);
        assert_eq!(denied.is_none(), verdict == Verdict::Accepted);
        verdict
    };
    assert_eq!(verdict(&before, &before), Verdict::Accepted);
    assert_eq!(verdict(&before, &room.state), Verdict::SoftFailed);
    assert_eq!(verdict(&room.state, &before), Verdict::Rejected);
    assert_eq!(verdict(&room.state, &room.state), Verdict::Rejected);
    // By its auth events alone it is as good as ever.
    check(&room, &event).unwrap();
}
