use serde_json::{Value, json, value::to_raw_value};

use super::*;

fn child(room_id: &str, sent_at: u64, content: &Value) -> Option<SpaceChild> {
    let event = json!({
        "type": SPACE_CHILD,
        "state_key": room_id,
        "sender": "@alice:example.org",
        "origin_server_ts": sent_at,
        "content": content,
    });
    SpaceChild::of_stripped(&to_raw_value(&event).unwrap())
}

fn with_order(room_id: &str, sent_at: u64, order: &Value) -> SpaceChild {
    let content = json!({ "via": ["example.org"], "order": order });
    child(room_id, sent_at, &content).unwrap()
}

#[test]
fn children_are_ordered_as_in_the_example_of_the_specification() {
    let mut children = [
        with_order("!d:example.org", 1_640_741_000_000, &Value::Null),
        with_order("!c:example.org", 1_640_841_000_000, &json!("first")),
        with_order("!a:example.org", 1_640_141_000_000, &json!("aaaa")),
        with_order("!e:example.org", 1_640_641_000_000, &Value::Null),
        with_order("!b:example.org", 1_640_341_000_000, &json!(" ")),
    ];
    children.sort_unstable();
    let ids = children.map(|child| child.room_id.to_string());
    let wanted = ["!b", "!a", "!c", "!e", "!d"].map(|id| format!("{id}:example.org"));
    assert_eq!(ids, wanted);
}

#[test]
fn invalid_order_counts_as_none() {
    let valid = with_order("!z:example.org", 9, &json!("z"));
    for order in [
        json!(""),
        json!("ä"),
        json!("\n"),
        json!(5),
        json!("a".repeat(51)),
    ] {
        let other = with_order("!a:example.org", 1, &order);
        assert!(other > valid, "{order}");
    }
    assert!(with_order("!a:example.org", 1, &json!("a".repeat(50))) < valid);
}

#[test]
fn equal_orders_and_timestamps_are_broken_by_room_id() {
    let [a, b] = ["!a:example.org", "!b:example.org"].map(|id| with_order(id, 1, &json!("o")));
    assert!(a < b);
    assert!(with_order("!b:example.org", 0, &json!("o")) < a);
}

#[test]
fn room_without_servers_is_no_child() {
    for content in [
        json!({}),
        json!({ "via": "example.org" }),
        json!({ "via": [] }),
        json!({ "via": ["not a server"] }),
    ] {
        assert!(child("!a:example.org", 1, &content).is_none(), "{content}");
    }
    let content = json!({ "via": ["example.org"] });
    assert!(child("not a room", 1, &content).is_none());
}

#[test]
fn only_true_suggests_a_room() {
    let suggested = |value: Value| {
        let content = json!({ "via": ["example.org"], "suggested": value });
        child("!a:example.org", 1, &content).unwrap().suggested
    };
    assert!(suggested(json!(true)));
    assert!(!suggested(json!("true")));
    assert!(!suggested(Value::Null));
}

#[test]
fn child_is_written_in_stripped_form_with_its_timestamp() {
    let content = json!({ "via": ["example.org"], "org.example.more": [1] });
    let child = child("!a:example.org", 7, &content).unwrap();
    assert_eq!(
        serde_json::to_value(&child).unwrap(),
        json!({
            "type": "m.space.child",
            "state_key": "!a:example.org",
            "sender": "@alice:example.org",
            "origin_server_ts": 7,
            "content": content,
        })
    );
}
