use ruma::{OwnedEventId, owned_room_id};
use serde_json::json;

use super::*;

fn event(nid: i64, text: &str) -> StateEvent {
    let json = json!({
        "type": "org.test",
        "state_key": nid.to_string(),
        "sender": "@alice:example.org",
        "origin_server_ts": 1,
        "depth": 1,
        "prev_events": [],
        "auth_events": [],
        "content": { "text": text },
    });
    let event_id = OwnedEventId::try_from(format!("${nid}")).unwrap();
    let room_id = owned_room_id!("!room:example.org");
    let json = json.to_string().into_boxed_str();
    StateEvent {
        nid: EventNid(nid),
        pdu: Arc::new(Pdu::from_stored(event_id, room_id, json).unwrap()),
    }
}

#[test]
fn reading_one_huge_room_does_not_empty_the_cache() {
    let small: Vec<StateEvent> = (0..100).map(|nid| event(nid, "small")).collect();
    let size: usize = small.iter().map(|event| weight(&event.pdu)).sum();
    // What is read at once may take half as much as what is there.
    let cache = EventCache::new(2 * size);
    for event in &small {
        cache.insert(event);
    }
    for round in 0..20 {
        let huge = (0..10_000).map(|nid| event(1000 + 10_000 * round + nid, "huge"));
        cache.keep(huge, cache.redactions());
        cache.events.run_pending_tasks();
        // They are in use.
        let left = small.iter().filter(|event| cache.get(event.nid).is_some());
        assert_eq!(left.count(), small.len(), "round {round}");
    }
}

#[test]
fn events_read_before_their_redaction_are_not_cached() {
    let cache = EventCache::new(1 << 20);
    let (before, after) = (event(1, "secret"), event(1, "gone"));
    let redactions = cache.redactions();
    cache.redact(before.nid, &after.pdu);
    cache.keep([before.clone()].into_iter(), redactions);
    assert!(cache.get(before.nid).is_none());
    cache.keep([before.clone()].into_iter(), cache.redactions());
    cache.redact(before.nid, &after.pdu);
    let left = cache.get(before.nid).unwrap();
    assert_eq!(left.content_text(), after.pdu.content_text());
}
