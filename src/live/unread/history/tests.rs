use ruma::{event_id, room_id};
use serde_json::json;

use super::*;
use crate::unread::{MAX_COUNTED, Thread};

fn order(position: i64) -> HistoryOrder {
    HistoryOrder::of(StreamPosition(position))
}

fn event(position: i64) -> Arc<HistoryEvent> {
    let json = json!({
        "type": "m.room.message",
        "sender": "@alice:example.org",
        "origin_server_ts": 1,
        "depth": 1,
        "prev_events": [],
        "auth_events": [],
        "content": {},
    });
    let (event_id, room_id) = (event_id!("$event"), room_id!("!room:example.org"));
    let json = json.to_string().into_boxed_str();
    let pdu = Pdu::from_stored(event_id.to_owned(), room_id.to_owned(), json);
    Arc::new(HistoryEvent {
        order: order(position),
        pdu: pdu.unwrap(),
        is_redacted: false,
        flattened: OnceLock::new(),
    })
}

fn range(after: i64, after_main: i64) -> HistoryRange {
    HistoryRange {
        after: order(after),
        after_main: order(after_main),
    }
}

#[test]
fn a_history_is_complete_back_to_the_oldest_event_of_a_full_batch() {
    let mut reading = Reading::new(range(5, 10));
    for position in (11..110).rev() {
        reading.push(event(position), true);
    }
    // In a thread, and before the rest.
    reading.push(event(7), true);
    assert_eq!(reading.complete_after(), order(10));
    let mut reading = Reading::new(range(5, 10));
    for position in (100..100 + MAX_COUNTED as i64).rev() {
        reading.push(event(position), true);
    }
    assert_eq!(reading.complete_after(), order(100));
}

#[test]
fn only_complete_histories_are_shared() {
    let read = |kept: &[bool]| {
        let mut reading = Reading::new(range(5, 5));
        for keeps in kept {
            reading.push(event(20), *keeps);
        }
        reading.into_history(StreamPosition(30))
    };
    assert_eq!(
        read(&[true, true]).map(|history| history.events.len()),
        Some(2)
    );
    assert!(read(&[true, false]).is_none());
}

#[test]
fn a_history_serves_counts_that_begin_later() {
    let reading = Reading::new(range(5, 10));
    let history = reading.into_history(StreamPosition(30)).unwrap();
    assert!(history.covers(range(5, 10)));
    assert!(history.covers(range(8, 12)));
    assert!(!history.covers(range(4, 10)));
    assert!(!history.covers(range(5, 9)));
}

#[test]
fn threads_are_found_over_the_events_in_between() {
    let relation = |rel_type: &str, event_id: &str| {
        Some(Relation {
            rel_type: rel_type.to_owned(),
            event_id: event_id.try_into().unwrap(),
        })
    };
    let id = |event_id: &str| OwnedEventId::try_from(event_id).unwrap();
    let mut slot = CachedHistory::default();
    slot.insert_thread(id("$edit"), relation("m.replace", "$reply"));
    assert_eq!(slot.end_of(&id("$edit")), "$reply");
    slot.insert_thread(id("$reply"), relation("m.thread", "$root"));
    let (edit, main) = (id("$edit"), id("$main"));
    let thread = slot.threads.get(slot.end_of(&edit));
    let root = Thread::Of(id("$root"));
    assert!(matches!(thread, Some(EventThread::Known(of)) if *of == root));
    slot.insert_thread(main.clone(), None);
    let thread = slot.threads.get(slot.end_of(&main));
    assert!(matches!(thread, Some(EventThread::Known(Thread::Main))));
}
