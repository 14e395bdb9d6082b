use event::RoomVersion;
use ruma::{OwnedRoomId, UInt, owned_user_id, server_name};
use serde_json::{Value, json};
use types::RoomNid;

use super::*;
use crate::create::raw;

fn event(event_type: &str, state_key: Option<&str>, content: &Value) -> NewEvent {
    NewEvent {
        sender: owned_user_id!("@alice:test.localhost"),
        event_type: event_type.into(),
        state_key: state_key.map(ToOwned::to_owned),
        content: raw(content).unwrap(),
        redacts: None,
        transaction: None,
    }
}

/// A room that Alice has made and joined.
fn room(signer: &Signer) -> EventAppender<'_> {
    let room_id = OwnedRoomId::try_from("!unknown").unwrap();
    let head = Head::new(RoomNid(1), room_id, RoomVersion::default_version());
    let now = MilliSecondsSinceUnixEpoch(UInt::from(1_u32));
    let mut appender = EventAppender::new(head, signer, now, (1..100).collect());
    let create = event("m.room.create", Some(""), &json!({ "room_version": "12" }));
    let pdu = appender.build_create_event(&create).unwrap();
    appender.set_room_id_from_create(&pdu);
    appender.add(pdu.into(), Vec::new(), create).unwrap();
    let join = json!({ "membership": "join" });
    let join = event("m.room.member", Some("@alice:test.localhost"), &join);
    appender.append(join).unwrap();
    appender
}

#[test]
fn an_event_names_at_most_twenty_parents_and_later_ones_name_the_rest() {
    let (signer, _) = Signer::generate(server_name!("test.localhost")).unwrap();
    let mut appender = room(&signer);
    let extremity = |n: i64| {
        let event_id = format!("${}", "x".repeat(n as usize));
        (
            EventNid(1000 + n),
            OwnedEventId::try_from(event_id).unwrap(),
        )
    };
    appender.head.extremities = (1..=45).map(extremity).collect();
    for (parents, left) in [(20, 26), (20, 7), (7, 1), (1, 1)] {
        let hello = event("m.room.message", None, &json!({ "body": "hello" }));
        let event_id = appender.append(hello).unwrap();
        let new = appender.events.last().unwrap();
        assert_eq!(new.event.pdu.prev_events().len(), parents);
        assert_eq!(new.parents.len(), parents);
        assert_eq!(appender.head.extremities.len(), left);
        assert_eq!(appender.head.extremities[0].1, event_id);
    }
}

#[test]
fn a_redaction_is_judged_by_the_levels_that_hold_when_it_is_added() {
    let (signer, _) = Signer::generate(server_name!("test.localhost")).unwrap();
    let mut appender = room(&signer);
    let hello = event("m.room.message", None, &json!({ "body": "hello" }));
    let target = appender.append(hello).unwrap();
    let pdu = appender.events.last().unwrap().event.pdu.clone();
    let redaction = |sender: &str| Redaction {
        target: target.clone(),
        target_sender: OwnedUserId::try_from(sender).unwrap(),
        redacted: Redacted {
            event_nid: EventNid(1),
            history_order: None,
            pdu: pdu.clone(),
        },
    };
    let bob = owned_user_id!("@bob:test.localhost");
    let others = redaction("@alice:test.localhost");
    assert!(appender.check_redaction(&bob, &others).is_err());
    let own = redaction(bob.as_str());
    assert!(appender.check_redaction(&bob, &own).is_ok());
    let levels = json!({ "users": { "@bob:test.localhost": 50 } });
    appender
        .append(event("m.room.power_levels", Some(""), &levels))
        .unwrap();
    assert!(appender.check_redaction(&bob, &others).is_ok());
}
