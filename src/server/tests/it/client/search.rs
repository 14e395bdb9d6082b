//! `/search`.

use serde_json::{Value, json};
use storage::{cursors, search::FOLLOWER};
use tokio_util::sync::CancellationToken;

use crate::app::{TestApp, TestUser, encoded};

const SEARCH: &str = "/_matrix/client/v3/search";

/// Searches with these criteria besides the term.
async fn search(user: &TestUser, term: &str, criteria: Value) -> Value {
    page(user, "", term, criteria).await
}

/// The same from a token on.
async fn page(user: &TestUser, token: &str, term: &str, mut criteria: Value) -> Value {
    criteria["search_term"] = term.into();
    let path = format!("{SEARCH}?next_batch={}", encoded(token));
    let path = if token.is_empty() { SEARCH } else { &path };
    let body = json!({ "search_categories": { "room_events": criteria } });
    let mut answer = user.post(path, body).await.ok();
    answer["search_categories"]["room_events"].take()
}

fn ids(answer: &Value) -> Vec<&str> {
    let results = answer["results"].as_array().unwrap().iter();
    results
        .map(|result| result["result"]["event_id"].as_str().unwrap())
        .collect()
}

/// The ids of the events that are found, the newest first.
async fn found(user: &TestUser, term: &str) -> Vec<String> {
    let answer = search(user, term, json!({ "order_by": "recent" })).await;
    let found = ids(&answer);
    assert_eq!(answer["count"], found.len());
    found.into_iter().map(str::to_owned).collect()
}

/// Has all events indexed, of which the last one is a message.
async fn index(app: &TestApp) {
    let stopping = CancellationToken::new();
    let committed = app.database.committed();
    let indexed = async {
        let mut db = app.database.acquire().await.unwrap();
        while cursors::find(&mut db, FOLLOWER).await.unwrap() < Some(committed) {
            tokio::task::yield_now().await;
        }
        stopping.cancel();
    };
    let (result, ()) = tokio::join!(app.app.rooms.index_events(stopping.clone()), indexed);
    result.unwrap();
}

async fn redact(user: &TestUser, room_id: &str, event_id: &str) {
    let transaction = encoded(event_id);
    let path = format!("/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{transaction}");
    user.put(&path, json!({})).await.ok();
}

#[tokio::test]
async fn messages_are_found_by_their_words_indexed_or_not() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let eve = app.user("eve").await;
    let first = alice
        .send_text(&room_id, "Hello, wörld! See matrix.org/docs")
        .await;
    let second = bob.send_text(&room_id, "the hello of the world").await;
    for is_indexed in [false, true] {
        for (term, expected) in [
            ("HELLO", vec![&*second, &*first]),
            ("world hello", vec![&*second, &*first]),
            ("docs MATRIX.org", vec![&*first]),
            ("\"hello world\"", vec![&*first]),
            ("\"the world\"", vec![&*second]),
            ("of or the", vec![]),
            ("hell", vec![]),
            ("hello nobody", vec![]),
        ] {
            assert_eq!(found(&bob, term).await, expected, "{term} {is_indexed}");
            assert!(found(&eve, term).await.is_empty(), "{term} {is_indexed}");
        }
        index(&app).await;
    }
    let answer = search(&bob, "wörld", json!({})).await;
    let result = &answer["results"][1];
    assert_eq!(result["result"]["room_id"], *room_id);
    assert!(result["rank"].as_f64().unwrap() > 0.0);
    assert!(result.get("context").is_none());
    assert_eq!(answer["highlights"], json!(["wörld"]));
    // Another process finds what is newer than its index.
    let third = alice.send_text(&room_id, "hello again").await;
    assert_eq!(found(&bob, "hello").await, [&*third, &second, &first]);
}

#[tokio::test]
async fn scripts_without_spaces_are_searched_by_parts_of_words() {
    let app = TestApp::start().await;
    let (alice, _, room_id) = app.public_room().await;
    let event = alice.send_text(&room_id, "明日の会議はLinuxについて").await;
    for _ in 0..2 {
        for term in ["会議", "会", "議は", "明日の会議", "linux", "会議 明日"] {
            assert_eq!(found(&alice, term).await, [&*event], "{term}");
        }
        for term in ["会日", "議会", "会議室"] {
            assert!(found(&alice, term).await.is_empty(), "{term}");
        }
        index(&app).await;
    }
}

#[tokio::test]
async fn forms_of_words_are_found_in_the_language_of_the_server() {
    let app = TestApp::start_with(|config| config.search.language = "german".to_owned()).await;
    let (alice, _, room_id) = app.public_room().await;
    let event = alice.send_text(&room_id, "Die Sitzungen beginnen").await;
    for _ in 0..2 {
        assert_eq!(found(&alice, "Sitzung").await, [&*event]);
        // Only words that no text is told by.
        assert!(found(&alice, "die").await.is_empty());
        index(&app).await;
    }
}

#[tokio::test]
async fn names_topics_and_senders_are_asked_for_and_files_by_their_url() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    for (event_type, content) in [
        ("m.room.name", json!({ "name": "needle room" })),
        ("m.room.topic", json!({ "topic": "needle topic" })),
    ] {
        alice
            .set_state(&room_id, event_type, "", content)
            .await
            .ok();
    }
    let text = bob.send_text(&room_id, "needle text").await;
    let file = json!({ "msgtype": "m.file", "body": "needle.pdf", "url": "mxc://a/b" });
    let file = alice.send(&room_id, "file", file).await;
    let count = async |criteria: Value| search(&alice, "needle", criteria).await["count"].take();
    assert_eq!(count(json!({})).await, 4);
    assert_eq!(count(json!({ "keys": ["content.name"] })).await, 1);
    let keys = json!({ "keys": ["content.topic", "content.body"] });
    assert_eq!(count(keys).await, 3);
    let types = json!({ "filter": { "types": ["m.room.t*"] } });
    assert_eq!(count(types).await, 1);
    let other_room = json!({ "filter": { "rooms": ["!other:test.localhost"] } });
    assert_eq!(count(other_room).await, 0);
    let not_rooms = json!({ "filter": { "not_rooms": [room_id] } });
    assert_eq!(count(not_rooms).await, 0);
    let of_bob = json!({ "filter": { "senders": [bob.user_id] } });
    assert_eq!(ids(&search(&alice, "needle", of_bob).await), [&*text]);
    let files = json!({ "filter": { "contains_url": true } });
    assert_eq!(ids(&search(&alice, "needle", files).await), [&*file]);
}

#[tokio::test]
async fn only_what_the_history_shows_is_found() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    let joined = json!({ "history_visibility": "joined" });
    alice
        .set_state(&room_id, "m.room.history_visibility", "", joined)
        .await
        .ok();
    alice.send_text(&room_id, "needle before").await;
    bob.join(&room_id).await.ok();
    let within = alice.send_text(&room_id, "needle within").await;
    bob.leave(&room_id).await.ok();
    alice.send_text(&room_id, "needle after").await;
    index(&app).await;
    // Neither the results nor their number tell of the others.
    assert_eq!(found(&bob, "needle").await, [&*within]);
    let context = json!({ "event_context": { "before_limit": 20, "after_limit": 20 } });
    let answer = search(&bob, "needle", context).await;
    let shown = answer["results"][0]["context"].to_string();
    assert!(!shown.contains("needle before") && !shown.contains("needle after"));
    assert_eq!(found(&alice, "needle").await.len(), 3);
    bob.room(&room_id, "forget", json!({})).await.ok();
    assert!(found(&bob, "needle").await.is_empty());
    let ignored = json!({ "ignored_users": { alice.user_id.clone(): {} } });
    let path = "/_matrix/client/v3/user";
    let path = format!("{path}/{}/account_data/m.ignored_user_list", bob.user_id);
    bob.join(&room_id).await.ok();
    alice.send_text(&room_id, "needle ignored").await;
    assert_eq!(found(&bob, "needle").await.len(), 2);
    bob.put(&path, ignored).await.ok();
    assert!(found(&bob, "needle").await.is_empty());
}

#[tokio::test]
async fn redacted_events_and_their_edits_are_gone_at_once() {
    let app = TestApp::start().await;
    let (alice, _, room_id) = app.public_room().await;
    for round in ["one", "two"] {
        let text = alice.send_text(&room_id, &format!("secret {round}")).await;
        let kept = alice.send_text(&room_id, &format!("kept {round}")).await;
        let edit = json!({
            "msgtype": "m.text", "body": "* edited", "m.new_content": { "msgtype": "m.text", "body": "changed" },
            "m.relates_to": { "event_id": text, "rel_type": "m.replace" },
        });
        let edit = alice.send(&room_id, round, edit).await;
        if round == "two" {
            index(&app).await;
        }
        assert_eq!(found(&alice, "changed").await, [&*edit]);
        assert!(found(&alice, "edited").await.is_empty());
        redact(&alice, &room_id, &text).await;
        assert!(found(&alice, "secret").await.is_empty());
        assert!(found(&alice, "changed").await.is_empty());
        assert_eq!(found(&alice, round).await, [&*kept]);
    }
    alice.send_text(&room_id, "last").await;
    index(&app).await;
    assert!(found(&alice, "secret").await.is_empty());
}

#[tokio::test]
async fn what_a_reply_repeats_and_encrypted_rooms_are_not_searched() {
    let app = TestApp::start().await;
    let (alice, _, room_id) = app.public_room().await;
    let text = alice.send_text(&room_id, "original").await;
    let reply = json!({
        "msgtype": "m.text", "body": "> <@a:b> original\n> more\n\nanswer",
        "m.relates_to": { "m.in_reply_to": { "event_id": text } },
    });
    let reply = alice.send(&room_id, "reply", reply).await;
    assert_eq!(found(&alice, "original").await, [&*text]);
    assert_eq!(found(&alice, "answer").await, [&*reply]);
    let algorithm = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    alice
        .set_state(&room_id, "m.room.encryption", "", algorithm)
        .await
        .ok();
    assert!(found(&alice, "original").await.is_empty());
}

#[tokio::test]
async fn results_are_paged_and_grouped() {
    let app = TestApp::start().await;
    let (alice, bob, one) = app.public_room().await;
    let two = alice.create_room(json!({ "preset": "public_chat" })).await;
    bob.join(&two).await.ok();
    let mut sent = Vec::new();
    for number in 0..12 {
        let sender = if number % 3 == 0 { &alice } else { &bob };
        let room_id = if number % 2 == 0 { &one } else { &two };
        sent.insert(
            0,
            sender.send_text(room_id, &format!("needle {number}")).await,
        );
    }
    for order in ["recent", "rank"] {
        let criteria = json!({ "order_by": order, "filter": { "limit": 5 } });
        let (mut read, mut token) = (Vec::new(), String::new());
        for size in [5, 5, 2, 0] {
            let answer = page(&alice, &token, "needle", criteria.clone()).await;
            assert_eq!(answer["count"], 12);
            assert_eq!(ids(&answer).len(), size);
            read.extend(ids(&answer).into_iter().map(str::to_owned));
            let next = answer["next_batch"].as_str();
            assert_eq!(next.is_some(), size > 0);
            token = next.unwrap_or_default().to_owned();
        }
        assert_eq!(read, sent, "{order}");
    }
    let groupings = json!({ "group_by": [{ "key": "room_id" }, { "key": "sender" }] });
    let criteria =
        json!({ "order_by": "recent", "filter": { "limit": 4 }, "groupings": groupings });
    let answer = search(&alice, "needle", criteria.clone()).await;
    let group = &answer["groups"]["room_id"][&two];
    assert_eq!(group["results"], json!([sent[0], sent[2]]));
    assert_eq!(group["order"], 0);
    let token = group["next_batch"].as_str().unwrap();
    let rest = page(&alice, token, "needle", criteria.clone()).await;
    assert_eq!(ids(&rest), [&*sent[4], &sent[6], &sent[8], &sent[10]]);
    let group = &answer["groups"]["sender"][&alice.user_id];
    assert_eq!(group["results"], json!([sent[2]]));
    let token = group["next_batch"].as_str().unwrap();
    let rest = page(&alice, token, "needle", criteria).await;
    assert_eq!(ids(&rest), [&*sent[5], &sent[8], &sent[11]]);
}

#[tokio::test]
async fn results_have_the_events_around_them_profiles_and_the_state() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let mut sent = Vec::new();
    for text in ["one", "two", "needle", "four", "five"] {
        sent.push(bob.send_text(&room_id, text).await);
    }
    let context = json!({ "before_limit": 2, "after_limit": 1, "include_profile": true });
    let criteria = json!({ "event_context": context, "include_state": true });
    let answer = search(&alice, "needle", criteria).await;
    let context = &answer["results"][0]["context"];
    assert_eq!(context["events_before"][0]["event_id"], *sent[1]);
    assert_eq!(context["events_before"][1]["event_id"], *sent[0]);
    let after = context["events_after"].as_array().unwrap();
    assert_eq!((after.len(), &after[0]["event_id"]), (1, &json!(sent[3])));
    let profile = &context["profile_info"][&bob.user_id];
    assert_eq!(*profile, json!({ "displayname": "bob" }));
    let state = answer["state"][&room_id].as_array().unwrap();
    assert!(state.iter().any(|event| event["type"] == "m.room.create"));
    assert!(state.iter().any(|event| event["state_key"] == *bob.user_id));
    // The tokens continue where the context ends.
    let messages = async |direction: &str, token: &str| {
        let token = context[token].as_str().unwrap();
        let query = format!("dir={direction}&limit=1&from={token}");
        let path = format!("/_matrix/client/v3/rooms/{room_id}/messages?{query}");
        alice.get(&path).await.ok()["chunk"][0].take()
    };
    assert_eq!(messages("f", "end").await["event_id"], *sent[4]);
    assert_eq!(messages("b", "start").await["type"], "m.room.member");
}

#[tokio::test]
async fn rooms_that_a_room_has_replaced_are_searched_with_it() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let old = alice.create_room(json!({})).await;
    let before = alice.send_text(&old, "needle before").await;
    let upgrade = json!({ "new_version": "11" });
    let mut answer = alice.room(&old, "upgrade", upgrade).await.ok();
    let new = answer["replacement_room"].take();
    let new = new.as_str().unwrap();
    let after = alice.send_text(new, "needle after").await;
    let rooms = |room_id: &str| json!({ "order_by": "recent", "filter": { "rooms": [room_id] } });
    let answer = search(&alice, "needle", rooms(new)).await;
    assert_eq!(ids(&answer), [&*after, &before]);
    let answer = search(&alice, "needle", rooms(&old)).await;
    assert_eq!(ids(&answer), [&*before]);
}

#[tokio::test]
async fn malformed_searches_are_refused() {
    let app = TestApp::start().await;
    let (alice, _, room_id) = app.public_room().await;
    alice.send_text(&room_id, "needle").await;
    for term in ["", "\0", "'", "&|!:*()", "\\", "\"", "-"] {
        assert!(found(&alice, term).await.is_empty(), "{term:?}");
    }
    assert_eq!(found(&alice, "needle\0").await.len(), 1);
    let huge = json!({
        "filter": { "limit": 9_007_199_254_740_991_i64 },
        "event_context": { "before_limit": 9_007_199_254_740_991_i64, "after_limit": 100_000 },
    });
    assert_eq!(search(&alice, "needle", huge).await["count"], 1);
    for (criteria, errcode) in [
        (json!({}), "M_BAD_JSON"),
        (json!({ "search_term": 1 }), "M_BAD_JSON"),
        (
            json!({ "search_term": "a".repeat(4097) }),
            "M_INVALID_PARAM",
        ),
        (
            json!({ "search_term": "a", "keys": ["content.url"] }),
            "M_INVALID_PARAM",
        ),
        (
            json!({ "search_term": "a", "order_by": "age" }),
            "M_INVALID_PARAM",
        ),
        (
            json!({ "search_term": "a", "groupings": { "group_by": [{ "key": "type" }] } }),
            "M_INVALID_PARAM",
        ),
        (
            json!({ "search_term": "a", "filter": { "limit": -1 } }),
            "M_BAD_JSON",
        ),
    ] {
        let body = json!({ "search_categories": { "room_events": criteria } });
        assert_eq!(alice.post(SEARCH, body).await.refused(), (400, errcode));
    }
    let body = json!({ "search_categories": { "room_events": { "search_term": "a" } } });
    for token in ["x", "1_2_3", "1_2_3_4_5_x", "%00", "2143289344_1_1_1_1"] {
        let path = format!("{SEARCH}?next_batch={token}");
        let answer = alice.post(&path, body.clone()).await;
        assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"), "{token}");
    }
    let answer = alice
        .post(SEARCH, json!({ "search_categories": {} }))
        .await
        .ok();
    assert_eq!(answer, json!({ "search_categories": {} }));
    let answer = app.unauthenticated().post(SEARCH, body).await;
    assert_eq!(answer.refused(), (401, "M_MISSING_TOKEN"));
}
