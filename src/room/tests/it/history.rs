//! Reading the past: pages, filters, context, single events.

use room::{Error, HistoryFilter, PageRequest};
use ruma::{EventId, OwnedRoomId, RoomId, api::client::filter::RoomEventFilter, owned_event_id};
use serde_json::{Value, json};
use testkit::Queries;
use types::ErrorKind;

use crate::support::{
    NOW, Server, alice, backwards, bob, bodies, carol, error_kind, forwards, json as parse, reader,
    token,
};

/// How many events make a public room of two members.
const BEGINNING: usize = 7;

fn filter(value: Value) -> HistoryFilter {
    let filter: RoomEventFilter = serde_json::from_value(value).expect("a filter");
    HistoryFilter::from(&filter)
}

/// A room in which the numbers from 1 to `count` were sent as messages.
async fn counted(server: &Server, count: usize) -> OwnedRoomId {
    let room_id = server.room(&[&alice(), &bob()]).await;
    for number in 1..=count {
        server
            .send_text(&room_id, &alice(), &number.to_string())
            .await
            .expect("sent");
    }
    room_id
}

/// A page as Alice reads it.
async fn read(server: &Server, room_id: &RoomId, request: &PageRequest) -> Value {
    let page = server.page(room_id, &alice(), request).await;
    page.expect("a page")
}

/// The request, but from a token on.
fn starting(from: &Value, request: PageRequest) -> PageRequest {
    PageRequest {
        from: Some(token(from)),
        ..request
    }
}

/// An event with what stands around it, as Alice reads it.
async fn context(server: &Server, room_id: &RoomId, event_id: &EventId, limit: usize) -> Value {
    let filter = HistoryFilter::default();
    let body = server
        .context(room_id, reader(&alice()), event_id, limit, filter)
        .await;
    parse(&body.expect("a context"))
}

#[tokio::test]
async fn backward_pages_are_contiguous() {
    let server = Server::start().await;
    let room_id = counted(&server, 10).await;
    let (mut events, mut request) = (Vec::new(), backwards(4));
    loop {
        let page = read(&server, &room_id, &request).await;
        let chunk = page["chunk"].as_array().expect("a list").clone();
        assert!(chunk.len() <= 4);
        events.extend(chunk);
        let Some(end) = page.get("end") else { break };
        request.from = Some(token(end));
    }
    let texts: Vec<_> = (1..=10).rev().map(|n| n.to_string()).collect();
    assert_eq!(bodies(&Value::Array(events.clone())), texts);
    assert_eq!(events.len(), 10 + BEGINNING, "down to the create event");
    assert_eq!(events.last().expect("one")["type"], "m.room.create");
}

#[tokio::test]
async fn forward_pages_are_contiguous_and_continue_with_new_events() {
    let server = Server::start().await;
    let room_id = counted(&server, 4).await;
    let page = read(&server, &room_id, &forwards(10)).await;
    assert_eq!(bodies(&page["chunk"]), ["1", "2", "3"]);
    let next = starting(&page["end"], forwards(10));
    let page = read(&server, &room_id, &next).await;
    assert_eq!(bodies(&page["chunk"]), ["4"]);
    server.send_text(&room_id, &bob(), "5").await.expect("sent");
    let next = starting(&page["end"], forwards(10));
    let page = read(&server, &room_id, &next).await;
    assert_eq!(bodies(&page["chunk"]), ["5"]);
}

#[tokio::test]
async fn a_token_means_the_same_gap_in_both_directions() {
    let server = Server::start().await;
    let room_id = counted(&server, 6).await;
    let page = read(&server, &room_id, &backwards(3)).await;
    let forward = starting(&page["end"], forwards(10));
    let page = read(&server, &room_id, &forward).await;
    assert_eq!(bodies(&page["chunk"]), ["4", "5", "6"]);
    let until = PageRequest {
        to: Some(token(&page["start"])),
        ..backwards(10)
    };
    let page = read(&server, &room_id, &until).await;
    assert_eq!(bodies(&page["chunk"]), ["6", "5", "4"]);
}

#[tokio::test]
async fn a_filter_is_applied_before_the_limit() {
    let server = Server::start().await;
    let room_id = counted(&server, 6).await;
    server
        .send_text(&room_id, &bob(), "from bob")
        .await
        .expect("sent");
    for (wanted, expected) in [
        (
            json!({ "senders": [bob()], "types": ["m.room.message"] }),
            vec!["from bob"],
        ),
        (
            json!({ "not_senders": [bob()], "types": ["*.message"] }),
            vec!["6", "5"],
        ),
        (
            json!({ "not_types": ["m.room.m*"], "not_senders": [alice()] }),
            vec![],
        ),
        (json!({ "types": [] }), vec![]),
        (json!({ "rooms": [room_id] }), vec!["from bob", "6"]),
        (json!({ "not_rooms": [room_id] }), vec![]),
        (json!({ "contains_url": true }), vec![]),
    ] {
        let request = PageRequest {
            filter: filter(wanted.clone()),
            ..backwards(2)
        };
        let page = read(&server, &room_id, &request).await;
        assert_eq!(bodies(&page["chunk"]), expected, "{wanted}");
    }
}

#[tokio::test]
async fn sparse_filters_take_few_queries() {
    let server = Server::start().await;
    let room_id = counted(&server, 40).await;
    for request in [backwards(1), forwards(1)] {
        let request = PageRequest {
            filter: filter(json!({ "types": [] })),
            ..request
        };
        let queries = Queries::listen();
        let page = read(&server, &room_id, &request).await;
        let asked = queries.take();
        assert_eq!(page["chunk"], json!([]));
        assert!(asked.len() <= 6, "{asked:?}");
    }
}

#[tokio::test]
async fn lazy_members_come_with_the_page_only_for_its_senders() {
    let server = Server::start().await;
    let room_id = counted(&server, 2).await;
    let page = read(&server, &room_id, &backwards(2)).await;
    assert_eq!(page.get("state"), None);
    let request = PageRequest {
        filter: filter(json!({ "lazy_load_members": true })),
        ..backwards(2)
    };
    let page = read(&server, &room_id, &request).await;
    let state = page["state"].as_array().expect("a list");
    let members: Vec<_> = state.iter().map(|event| &event["state_key"]).collect();
    assert_eq!(members, [alice().as_str()]);
}

#[tokio::test]
async fn events_are_returned_with_unsigned_data() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    let message_id = server
        .send_text(&room_id, &alice(), "hello")
        .await
        .expect("sent");
    server.clock.advance(50);
    let event = server
        .read(&room_id, &alice(), &message_id)
        .await
        .expect("seen");
    let expected = json!({
        "content": { "msgtype": "m.text", "body": "hello" },
        "event_id": message_id, "room_id": room_id, "sender": alice(), "type": "m.room.message",
        "origin_server_ts": NOW,
        "unsigned": { "age": 50, "membership": "join", "transaction_id": "hello" },
    });
    assert_eq!(event, expected);
    let event = server
        .read(&room_id, &bob(), &message_id)
        .await
        .expect("seen");
    let unsigned = json!({ "age": 50, "membership": "join" });
    assert_eq!(
        event["unsigned"], unsigned,
        "the transaction is the sender's"
    );
    let first = server
        .set(&room_id, &alice(), "m.room.name", json!({ "name": "A" }))
        .await
        .expect("set");
    let second = server
        .set(&room_id, &alice(), "m.room.name", json!({ "name": "B" }))
        .await
        .expect("set");
    let event = server.read(&room_id, &bob(), &second).await.expect("seen");
    assert_eq!(
        event["unsigned"],
        json!({
            "age": 0, "membership": "join", "prev_content": { "name": "A" },
            "prev_sender": alice(), "replaces_state": first,
        })
    );
}

#[tokio::test]
async fn an_event_is_found_in_its_own_room_only() {
    let server = Server::start().await;
    let here = server.room(&[&alice()]).await;
    let there = server.room(&[&alice()]).await;
    let message_id = server
        .send_text(&there, &alice(), "there")
        .await
        .expect("sent");
    for event_id in [message_id, owned_event_id!("$unknown")] {
        let event = server.event(&here, reader(&alice()), &event_id).await;
        assert!(matches!(event, Err(Error::UnknownEvent)));
        let context = server
            .context(
                &here,
                reader(&alice()),
                &event_id,
                10,
                HistoryFilter::default(),
            )
            .await;
        assert!(matches!(context, Err(Error::UnknownEvent)));
    }
}

#[tokio::test]
async fn the_context_has_half_before_and_half_after_and_pages_go_on_from_it() {
    let server = Server::start().await;
    let room_id = counted(&server, 7).await;
    let stored = server.stored(&room_id).await;
    let target = stored[BEGINNING + 3].pdu.event_id();
    let context = context(&server, &room_id, target, 4).await;
    assert_eq!(context["event"]["content"]["body"], "4");
    assert_eq!(bodies(&context["events_before"]), ["3", "2"]);
    assert_eq!(bodies(&context["events_after"]), ["5", "6"]);
    assert_eq!(
        context["state"].as_array().expect("a list").len(),
        BEGINNING
    );
    let before = starting(&context["start"], backwards(1));
    let page = read(&server, &room_id, &before).await;
    assert_eq!(bodies(&page["chunk"]), ["1"]);
    let after = starting(&context["end"], forwards(5));
    let page = read(&server, &room_id, &after).await;
    assert_eq!(bodies(&page["chunk"]), ["7"]);
}

#[tokio::test]
async fn a_context_of_nothing_but_the_event_still_has_tokens() {
    let server = Server::start().await;
    let room_id = counted(&server, 3).await;
    let target = server.stored(&room_id).await[BEGINNING + 1]
        .pdu
        .event_id()
        .clone();
    let context = context(&server, &room_id, &target, 0).await;
    assert!(bodies(&context["events_before"]).is_empty());
    assert!(bodies(&context["events_after"]).is_empty());
    let before = starting(&context["start"], backwards(1));
    let page = read(&server, &room_id, &before).await;
    assert_eq!(bodies(&page["chunk"]), ["1"]);
}

#[tokio::test]
async fn non_members_cannot_read() {
    let server = Server::start().await;
    let room_id = counted(&server, 1).await;
    let message_id = server.stored(&room_id).await[BEGINNING]
        .pdu
        .event_id()
        .clone();
    assert_eq!(
        error_kind(server.page(&room_id, &carol(), &backwards(5)).await),
        ErrorKind::Forbidden
    );
    assert_eq!(
        error_kind(server.read(&room_id, &carol(), &message_id).await),
        ErrorKind::NotFound
    );
    let unknown = ruma::room_id!("!nowhere:test.localhost");
    assert_eq!(
        error_kind(server.page(unknown, &carol(), &backwards(5)).await),
        ErrorKind::Forbidden
    );
}
