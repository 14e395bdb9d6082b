use event::RoomVersion;
use live::RoomState;
use ruma::{OwnedRoomId, UInt, owned_user_id, server_name};
use serde_json::{Value, json};
use types::RoomNid;

use super::*;
use crate::content::raw;

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
fn room<'a>(signer: &'a Signer, cache: &'a EventCache) -> EventAppender<'a> {
    let room_id = OwnedRoomId::try_from("!unknown").unwrap();
    let version = RoomVersion::default_version().id().clone();
    let state = RoomState::new(RoomNid(1), room_id, Some(version));
    let context = AppendContext {
        signer,
        now: MilliSecondsSinceUnixEpoch(UInt::from(1_u32)),
        cache,
    };
    let head = Head::new(state.into()).unwrap();
    let mut appender = EventAppender::new(head, context, (1..100).collect());
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
    let cache = EventCache::new(1 << 20);
    let mut appender = room(&signer, &cache);
    for number in 1..45 {
        let hello = event("m.room.message", None, &json!({ "number": number }));
        let draft = appender.draft(&hello, Some(appender.room_id().clone()));
        let pdu = draft.build(&appender.head.version, Parents::default(), &signer);
        let state = Arc::make_mut(&mut appender.head.state);
        state.append(EventNid(1000 + number), &pdu.unwrap(), 0);
    }
    for (parents, left) in [(20, 26), (20, 7), (7, 1), (1, 1)] {
        let hello = event("m.room.message", None, &json!({ "body": "hello" }));
        let event_id = appender.append(hello).unwrap();
        let new = appender.events.last().unwrap();
        assert_eq!(new.event.pdu.prev_events().len(), parents);
        assert_eq!(new.parents.len(), parents);
        let extremities = appender.head.state.extremities();
        assert_eq!(extremities.len(), left);
        assert_eq!(extremities[0].1, event_id);
    }
}

#[test]
fn a_redaction_is_judged_by_the_levels_that_hold_when_it_is_added() {
    let (signer, _) = Signer::generate(server_name!("test.localhost")).unwrap();
    let cache = EventCache::new(1 << 20);
    let mut appender = room(&signer, &cache);
    let hello = event("m.room.message", None, &json!({ "body": "hello" }));
    let target = appender.append(hello).unwrap();
    let pdu = appender.events.last().unwrap().event.pdu.clone();
    let redaction = |sender: &str| Redaction {
        target: target.clone(),
        known: Some(KnownTarget {
            sender: OwnedUserId::try_from(sender).unwrap(),
            redacted: Redacted {
                event_nid: EventNid(1),
                history_order: None,
                pdu: pdu.clone(),
            },
        }),
    };
    let bob = owned_user_id!("@bob:test.localhost");
    let others = redaction("@alice:test.localhost");
    assert!(appender.check_redaction(&bob, &others).is_err());
    let own = redaction(bob.as_str());
    assert!(appender.check_redaction(&bob, &own).is_ok());
    let unknown = Redaction {
        target: target.clone(),
        known: None,
    };
    let refused = appender.check_redaction(&bob, &unknown);
    assert!(matches!(refused, Err(Error::UnknownEvent)));
    let levels = json!({ "users": { "@bob:test.localhost": 50 } });
    appender
        .append(event("m.room.power_levels", Some(""), &levels))
        .unwrap();
    assert!(appender.check_redaction(&bob, &others).is_ok());
    assert!(appender.check_redaction(&bob, &unknown).is_ok());
}

#[test]
fn what_is_not_in_memory_is_named_all_at_once() {
    let (signer, _) = Signer::generate(server_name!("test.localhost")).unwrap();
    let cache = EventCache::new(1 << 20);
    let mut appender = room(&signer, &cache);
    let member = |user: &str| {
        let content = json!({ "membership": "join" });
        event("m.room.member", Some(user), &content)
    };
    let alice = "@alice:test.localhost";
    let built = |appender: &EventAppender<'_>, user: &str| {
        let draft = appender.draft(&member(user), Some(appender.room_id().clone()));
        let pdu = draft.build(&appender.head.version, Parents::default(), &signer);
        Arc::new(pdu.unwrap())
    };
    let bob = "@bob:test.localhost";
    let events: Vec<StateEvent> = [(51, alice), (52, bob)]
        .into_iter()
        .map(|(nid, user)| StateEvent {
            nid: EventNid(nid),
            pdu: built(&appender, user),
        })
        .collect();
    let state = Arc::make_mut(&mut appender.head.state);
    for event in &events {
        let number = event.nid.get();
        state.append_state(SnapshotNid(number), StateKeyNid(number), event);
    }
    // As if they had been loaded.
    appender.added.clear();
    let mut kick = member(bob);
    kick.content = raw(&json!({ "membership": "leave" })).unwrap();
    assert!(matches!(appender.append(kick.clone()), Err(Error::NotRead)));
    assert_eq!(appender.missing(), [EventNid(51), EventNid(52)]);
    for event in &events {
        cache.insert(event);
    }
    appender.append(kick).unwrap();
    let new = appender.events.last().unwrap();
    let replaced = new.event.replaces.as_ref().unwrap();
    assert_eq!(replaced.nid, EventNid(52));
}
