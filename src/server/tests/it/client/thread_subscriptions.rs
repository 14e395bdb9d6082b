//! Subscriptions to threads (MSC4306).

use serde_json::{Value, json};

use crate::app::{Answer, TestApp, TestUser, encoded};

const LIST: &str = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions";

fn path(room_id: &str, root: &str) -> String {
    let root = encoded(root);
    format!(
        "/_matrix/client/unstable/io.element.msc4306/rooms/{room_id}/thread/{root}/subscription"
    )
}

/// Replies in a thread.
async fn reply(user: &TestUser, room_id: &str, root: &str, text: &str) -> String {
    let relation = json!({ "rel_type": "m.thread", "event_id": root });
    let body = json!({ "msgtype": "m.text", "body": text, "m.relates_to": relation });
    user.send(room_id, &encoded(text), body).await
}

async fn subscribe(user: &TestUser, (room_id, root): (&str, &str), cause: Option<&str>) -> Answer {
    let body = cause.map_or_else(|| json!({}), |cause| json!({ "automatic": cause }));
    user.put(&path(room_id, root), body).await
}

/// Whether the user is subscribed, and whether automatically.
async fn state(user: &TestUser, room_id: &str, root: &str) -> Option<Value> {
    let answer = user.get(&path(room_id, root)).await;
    if answer.status != 200 {
        assert_eq!(answer.refused(), (404, "M_NOT_FOUND"));
        return None;
    }
    Some(answer.body["automatic"].clone())
}

#[tokio::test]
async fn manual_subscriptions_win_over_automatic_ones() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let root = alice.send_text(&room_id, "root").await;
    let first = reply(&bob, &room_id, &root, "first").await;
    let thread = (&*room_id, &*root);
    assert_eq!(state(&alice, &room_id, &root).await, None);
    subscribe(&alice, thread, Some(&first)).await.ok();
    assert_eq!(state(&alice, &room_id, &root).await, Some(json!(true)));
    for cause in [None, Some(&*first)] {
        subscribe(&alice, thread, cause).await.ok();
        assert_eq!(state(&alice, &room_id, &root).await, Some(json!(false)));
    }
    assert_eq!(state(&bob, &room_id, &root).await, None);
    for _ in 0..2 {
        alice.delete(&path(&room_id, &root)).await.ok();
        assert_eq!(state(&alice, &room_id, &root).await, None);
    }
}

#[tokio::test]
async fn events_before_the_end_of_a_subscription_begin_no_automatic_one() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let root = alice.send_text(&room_id, "root").await;
    let thread = (&*room_id, &*root);
    let first = reply(&bob, &room_id, &root, "first").await;
    subscribe(&alice, thread, Some(&first)).await.ok();
    let second = reply(&bob, &room_id, &root, "second").await;
    alice.delete(&path(&room_id, &root)).await.ok();
    let conflict = (409, "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION");
    for cause in [&first, &second] {
        let refused = subscribe(&alice, thread, Some(cause)).await;
        assert_eq!(refused.refused(), conflict);
        assert_eq!(state(&alice, &room_id, &root).await, None);
    }
    let third = reply(&bob, &room_id, &root, "third").await;
    subscribe(&alice, thread, Some(&third)).await.ok();
    assert_eq!(state(&alice, &room_id, &root).await, Some(json!(true)));
}

#[tokio::test]
async fn what_is_no_thread_or_not_in_it_is_refused() {
    let app = TestApp::start_with(|config| config.limits.thread_subscriptions_per_user = 1).await;
    let (alice, bob, room_id) = app.public_room().await;
    let root = alice.send_text(&room_id, "root").await;
    let thread = (&*room_id, &*root);
    let other = alice.send_text(&room_id, "other").await;
    let elsewhere = reply(&bob, &room_id, &other, "elsewhere").await;
    let not_in_thread = (400, "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD");
    for cause in [&root, &elsewhere] {
        let refused = subscribe(&alice, thread, Some(cause)).await;
        assert_eq!(refused.refused(), not_in_thread);
    }
    let carol = app.user("carol").await;
    for (user, root) in [(&alice, "$unknown"), (&carol, &*root)] {
        let refused = subscribe(user, (&room_id, root), None).await;
        assert_eq!(refused.refused(), (404, "M_NOT_FOUND"));
        assert_eq!(state(user, &room_id, root).await, None);
        let refused = user.delete(&path(&room_id, root)).await;
        assert_eq!(refused.refused(), (404, "M_NOT_FOUND"));
    }
    subscribe(&alice, thread, None).await.ok();
    let too_many = subscribe(&alice, (&room_id, &other), None).await;
    assert_eq!(too_many.refused(), (403, "M_USER_LIMIT_EXCEEDED"));
    subscribe(&alice, thread, None).await.ok();
}

#[tokio::test]
async fn all_subscriptions_are_listed_in_pages() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let mut roots = Vec::new();
    for text in ["a", "b", "c"] {
        let root = alice.send_text(&room_id, text).await;
        subscribe(&alice, (&room_id, &root), None).await.ok();
        roots.push(root);
    }
    alice.delete(&path(&room_id, &roots[0])).await.ok();
    let page = alice.get(&format!("{LIST}?dir=b&limit=2")).await.ok();
    let ended = &page["unsubscribed"][&room_id][&roots[0]];
    assert!(ended["bump_stamp"].is_u64() && ended.get("automatic").is_none());
    assert_eq!(page["subscribed"][&room_id][&roots[2]]["automatic"], false);
    assert!(page["subscribed"][&room_id].get(&roots[1]).is_none());
    let end = page["end"].as_str().unwrap();
    let rest = alice.get(&format!("{LIST}?dir=b&from={end}")).await.ok();
    assert!(rest["subscribed"][&room_id].get(&roots[1]).is_some());
    assert!(rest.get("unsubscribed").is_none() && rest.get("end").is_none());
    let newer = alice.get(&format!("{LIST}?dir=b&to={end}")).await.ok();
    assert!(newer["subscribed"].get(&room_id).is_none());
    assert_eq!(bob.get(LIST).await.ok(), json!({}));
    for query in ["dir=f", "from=x", "to=x", "limit=x"] {
        let refused = alice.get(&format!("{LIST}?{query}")).await;
        assert_eq!(refused.refused(), (400, "M_INVALID_PARAM"), "{query}");
    }
}
