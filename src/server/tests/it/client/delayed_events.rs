//! Delayed events (MSC4140) over HTTP.

use http::Method;
use serde_json::{Value, json};

use crate::app::{Answer, Client, PASSWORD, TestApp, TestUser};

const EVENTS: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";
const ROOMS: &str = "/_matrix/client/v3/rooms";

fn id(answer: Answer) -> String {
    answer.ok()["delay_id"].as_str().unwrap().to_owned()
}

async fn waiting(user: &TestUser) -> Vec<Value> {
    let answer = user.get(EVENTS).await.ok();
    answer["delayed_events"].as_array().unwrap().clone()
}

async fn act(client: &Client, delay_id: &str, action: &str) -> Answer {
    client
        .post(&format!("{EVENTS}/{delay_id}/{action}"), json!({}))
        .await
}

#[tokio::test]
async fn scheduled_events_are_listed_to_their_sender_and_sent_on_request() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let since = alice.since().await;
    let path = format!("{ROOMS}/{room_id}/send/org.example.x/1?org.matrix.msc4140.delay=60000");
    let message = id(alice.put(&path, json!({ "n": 1 })).await);
    // A repeated request is known by its transaction.
    assert_eq!(id(alice.call(Method::PUT, &path, "").await), message);
    let path = format!("{ROOMS}/{room_id}/state/org.example.s/key?org.matrix.msc4140.delay=90000");
    let state = id(alice.put(&path, json!({ "s": true })).await);
    let path = format!(
        "/_matrix/client/unstable/org.matrix.msc4140/rooms/{room_id}/delayed_event/org.example.s/2"
    );
    let body = json!({ "delay": 120_000, "state_key": "", "content": { "s": 2 } });
    let third = id(alice.put(&path, body.clone()).await);
    assert_eq!(id(alice.put(&path, body).await), third);

    let events = waiting(&alice).await;
    let ids: Vec<&Value> = events.iter().map(|event| &event["delay_id"]).collect();
    assert_eq!(ids, [&message, &state, &third]);
    let mut expected = json!({
        "delay_id": state,
        "room_id": room_id,
        "type": "org.example.s",
        "state_key": "key",
        "delay": 90000,
        "content": { "s": true },
    });
    expected["running_since"] = events[1]["running_since"].clone();
    assert!(expected["running_since"].is_u64());
    assert_eq!(events[1], expected);
    assert_eq!(events[0].get("state_key"), None);
    assert_eq!(alice.get(&format!("{EVENTS}/{state}")).await.ok(), expected);
    assert!(waiting(&bob).await.is_empty());
    let foreign = bob.get(&format!("{EVENTS}/{state}")).await;
    assert_eq!(foreign.refused(), (404, "M_NOT_FOUND"));
    // Nothing of it is shown so far.
    assert!(alice.sync(&since).await["rooms"].is_null());

    let anybody = app.unauthenticated();
    act(&anybody, &message, "restart").await.ok();
    act(&anybody, &message, "cancel").await.ok();
    act(&anybody, &state, "send").await.ok();
    let by_body = format!("{EVENTS}/{third}");
    anybody
        .post(&by_body, json!({ "action": "send" }))
        .await
        .ok();
    assert!(waiting(&alice).await.is_empty());
    let content = bob.state(&room_id, "org.example.s", "key").await.ok();
    assert_eq!(content, json!({ "s": true }));
    let content = bob.state(&room_id, "org.example.s", "").await.ok();
    assert_eq!(content, json!({ "s": 2 }));
    let sync = alice.sync(&since).await;
    let timeline = &sync["rooms"]["join"][&room_id]["timeline"]["events"];
    assert_eq!(timeline.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_delayed_is_refused_instead_of_sent_at_once() {
    let app = TestApp::start_with(|config| config.limits.delayed_events_per_user = 1).await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let since = alice.since().await;
    for query in [
        "org.matrix.msc4140.delay=-1",
        "org.matrix.msc4140.delay=0",
        "org.matrix.msc4140.delay=soon",
        "a=b&org.matrix.msc%34140%2Edelay=1.5",
        "org.matrix.msc4140.parent_delay_id=x",
    ] {
        for path in ["send/m.room.message/t", "state/m.test/", "state/m.test/key"] {
            let path = format!("{ROOMS}/{room_id}/{path}?{query}");
            let answer = alice.put(&path, json!({ "body": "later" })).await;
            assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"), "{path}");
        }
    }
    let path = |millis: u64, transaction: &str| {
        format!("{ROOMS}/{room_id}/send/m.x/{transaction}?org.matrix.msc4140.delay={millis}")
    };
    let too_long = alice.put(&path(86_400_001, "1"), json!({})).await;
    assert_eq!(too_long.refused(), (400, "M_UNKNOWN"));
    let errcode = "org.matrix.msc4140.errcode";
    assert_eq!(too_long.body[errcode], "M_MAX_DELAY_EXCEEDED");
    let max = &too_long.body["org.matrix.msc4140.max_delay"];
    assert_eq!(*max, 86_400_000);
    let no_body = alice.call(Method::PUT, &path(1000, "1"), "").await;
    assert_eq!(no_body.refused(), (400, "M_NOT_JSON"));
    let waiting = id(alice.put(&path(1000, "1"), json!({})).await);
    let too_many = alice.put(&path(1000, "2"), json!({})).await;
    assert_eq!(too_many.refused(), (403, "M_USER_LIMIT_EXCEEDED"));
    assert_eq!(too_many.body[errcode], "M_MAX_DELAYED_EVENTS_EXCEEDED");
    // The same request again is none too many.
    assert_eq!(
        id(alice.call(Method::PUT, &path(1000, "1"), "").await),
        waiting
    );
    assert!(alice.sync(&since).await["rooms"].is_null());
}

#[tokio::test]
async fn unknown_delayed_events_and_actions_are_refused() {
    let app = TestApp::start().await;
    let anybody = app.unauthenticated();
    assert_eq!(anybody.get(EVENTS).await.refused().0, 401);
    for action in ["restart", "cancel", "send"] {
        let refused = act(&anybody, "abc", action).await;
        assert_eq!(refused.refused(), (404, "M_NOT_FOUND"), "{action}");
    }
    let refused = act(&anybody, "abc", "oops").await;
    assert_eq!(refused.refused(), (404, "M_UNRECOGNIZED"));
    for body in [json!({}), json!({ "action": "oops" })] {
        let refused = anybody.post(&format!("{EVENTS}/abc"), body).await;
        assert_eq!(refused.refused(), (400, "M_BAD_JSON"));
    }
}

#[tokio::test]
async fn delayed_events_end_with_the_account() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let path = format!("{ROOMS}/{room_id}/send/m.x/1?org.matrix.msc4140.delay=60000");
    let delay_id = id(bob.put(&path, json!({})).await);
    let auth = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": bob.user_id },
        "password": PASSWORD,
    });
    bob.post(
        "/_matrix/client/v3/account/deactivate",
        json!({ "auth": auth }),
    )
    .await
    .ok();
    let refused = act(&alice, &delay_id, "send").await;
    assert_eq!(refused.refused(), (404, "M_NOT_FOUND"));
}
