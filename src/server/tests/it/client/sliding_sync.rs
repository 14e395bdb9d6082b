//! Sliding sync: what clients send and receive; its rules are tested in `sync`.

use http::Method;
use serde_json::{Value, json};

use crate::app::{TestApp, TestUser};

const UNSTABLE: &str = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";
const STABLE: &str = "/_matrix/client/v4/sync";

/// What the client of a room list sends.
fn room_list(last: u64) -> Value {
    json!({
        "conn_id": "room-list",
        "lists": { "all_rooms": {
            "ranges": [[0, last]],
            "timeline_limit": 1,
            "required_state": [
                ["m.room.name", ""], ["m.room.encryption", ""], ["m.room.create", ""],
                ["m.room.member", "$LAZY"], ["m.room.member", "$ME"],
            ],
            "filters": {},
        } },
        "extensions": {
            "account_data": { "enabled": true },
            "receipts": { "enabled": true, "rooms": ["*"] },
            "typing": { "enabled": true },
        },
    })
}

async fn sync(user: &TestUser, query: &str, body: Value) -> Value {
    user.post(&format!("{UNSTABLE}?{query}"), body).await.ok()
}

fn pos(answer: &Value) -> String {
    format!("pos={}", answer["pos"].as_str().unwrap())
}

#[tokio::test]
async fn room_list_follows_conversations() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let stranger = app.unauthenticated();
    let versions = stranger.get("/_matrix/client/versions").await.ok();
    let features = &versions["unstable_features"];
    assert_eq!(features["org.matrix.simplified_msc3575"], true);
    let first = sync(&bob, "timeout=0", room_list(19)).await;
    assert_eq!(first["lists"]["all_rooms"]["count"], 1);
    let room = &first["rooms"][&room_id];
    let state = room["required_state"].as_array().unwrap();
    let own = state
        .iter()
        .find(|event| event["state_key"] == bob.user_id)
        .unwrap();
    assert_eq!(own["content"]["membership"], "join");
    let global = first["extensions"]["account_data"]["global"]
        .as_array()
        .unwrap();
    assert!(global.iter().any(|event| event["type"] == "m.push_rules"));

    let waiting = format!("{}&timeout=10000", pos(&first));
    let (answer, event_id) = tokio::join!(
        sync(&bob, &waiting, room_list(19)),
        alice.send_text(&room_id, "hello")
    );
    let room = &answer["rooms"][&room_id];
    assert_eq!(room["timeline"][0]["event_id"], event_id);
    assert_eq!(
        (&room["num_live"], &room["notification_count"]),
        (&json!(1), &json!(1))
    );

    // The opened room has more history, and pages on from there.
    let mut opened = room_list(19);
    opened["room_subscriptions"] = json!({ &room_id: {
        "timeline_limit": 2,
        "required_state": [["m.room.power_levels", ""]],
    } });
    let answer = sync(&bob, &pos(&answer), opened.clone()).await;
    let room = &answer["rooms"][&room_id];
    assert_eq!(room["unstable_expanded_timeline"], true);
    assert_eq!(room["timeline"].as_array().unwrap().len(), 2);
    let state = room["required_state"].as_array().unwrap();
    assert!(
        state
            .iter()
            .any(|event| event["type"] == "m.room.power_levels")
    );
    assert!(!state.iter().any(|event| event["type"] == "m.room.create"));
    for from in [
        room["prev_batch"].as_str().unwrap(),
        answer["pos"].as_str().unwrap(),
    ] {
        let path = format!("/_matrix/client/v3/rooms/{room_id}/messages?dir=b&from={from}");
        let page = bob.get(&path).await.ok();
        assert!(!page["chunk"].as_array().unwrap().is_empty(), "{from}");
    }
    let answer = sync(&bob, &pos(&answer), opened).await;
    assert_eq!(answer["rooms"], json!({}));
}

#[tokio::test]
async fn unknown_positions_and_strangers_are_refused() {
    let app = TestApp::start().await;
    let (alice, bob, _) = app.public_room().await;
    let first = sync(&alice, "", room_list(19)).await;
    for (user, query) in [(&bob, pos(&first)), (&alice, "pos=nonsense".to_owned())] {
        let answer = user
            .post(&format!("{UNSTABLE}?{query}"), room_list(19))
            .await;
        assert_eq!(answer.refused(), (400, "M_UNKNOWN_POS"));
    }
    let anonymous = app.unauthenticated();
    for path in [UNSTABLE, STABLE] {
        let answer = anonymous.post(path, json!({})).await;
        assert_eq!(answer.refused(), (401, "M_MISSING_TOKEN"));
    }
    // The positions of a device end with it.
    bob.post("/_matrix/client/v3/logout", json!({})).await.ok();
    let answer = bob.post(UNSTABLE, json!({})).await;
    assert_eq!(answer.refused(), (401, "M_UNKNOWN_TOKEN"));
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let list = |list: Value| json!({ "lists": { "a": list } });
    let bad = [
        list(json!({ "ranges": [[-1, 2]], "timeline_limit": 1 })),
        list(json!({ "ranges": [[0, 1.5]], "timeline_limit": 1 })),
        list(json!({ "ranges": [[0]], "timeline_limit": 1 })),
        list(json!({ "ranges": "all", "timeline_limit": 1 })),
        list(json!({ "ranges": [[0, 1]], "timeline_limit": "many" })),
        list(json!({ "ranges": [[0, 1]] })),
        list(json!({ "timeline_limit": 1, "required_state": [["m.room.name"]] })),
        list(json!({ "timeline_limit": 1, "filters": { "spaces": ["no room"] } })),
        json!({ "room_subscriptions": { "no room": { "timeline_limit": 1 } } }),
        json!({ "extensions": { "receipts": { "enabled": "yes" } } }),
        json!({ "conn_id": 7 }),
    ];
    for body in bad {
        let answer = alice.post(UNSTABLE, body.clone()).await;
        assert_eq!(answer.refused(), (400, "M_BAD_JSON"), "{body}");
    }
    let lists: Value = (0..1_000)
        .map(|n| {
            (
                n.to_string(),
                json!({ "ranges": [[0, 1]], "timeline_limit": 1 }),
            )
        })
        .collect::<serde_json::Map<_, _>>()
        .into();
    let too_much = [
        json!({ "lists": lists }),
        list(json!({ "ranges": [[2, 1]], "timeline_limit": 1 })),
        list(
            json!({ "timeline_limit": 1, "required_state": vec![["a", "b"]; 2]
            .into_iter().chain((0..1_001).map(|_| ["a", "c"])).collect::<Vec<_>>() }),
        ),
    ];
    for (body, refused) in too_much.into_iter().zip([true, true, false]) {
        let answer = alice.post(UNSTABLE, body).await;
        if refused {
            assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"));
            assert!(
                answer.body["error"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
            );
        } else {
            // The same type and key a thousand times is one.
            answer.ok();
        }
    }
    for query in ["timeout=-1", "timeout=NaN", "set_presence=asleep"] {
        let answer = alice.post(&format!("{UNSTABLE}?{query}"), json!({})).await;
        assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"), "{query}");
    }
    let answer = alice.call(Method::POST, UNSTABLE, "{\"lists\":NaN}").await;
    assert_eq!(answer.refused(), (400, "M_NOT_JSON"));
    // Large numbers are no mistake.
    let large = list(json!({ "ranges": [[0, u64::MAX]], "timeline_limit": u64::MAX }));
    alice.post(UNSTABLE, large).await.ok();
}

#[tokio::test]
async fn accepted_form_has_its_parameters_in_the_body() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let body = |pos: Option<&Value>, limit: u64| {
        json!({
            "conn_id": "main",
            "pos": pos,
            "timeout": 0,
            "set_presence": "offline",
            "lists": { "all": {
                "range": [0, 9],
                "timeline_limit": limit,
                "required_state": {
                    "include": [{}],
                    "exclude": [{ "type": "m.room.create" }],
                    "lazy_members": true,
                },
                "filters": { "is_invited": false },
            } },
        })
    };
    let first = alice.post(STABLE, body(None, 1)).await.ok();
    let room = &first["rooms"][&room_id];
    assert_eq!(
        (&room["membership"], &room["lists"]),
        (&json!("join"), &json!(["all"]))
    );
    let state = room["required_state"].as_array().unwrap();
    let types: Vec<_> = state
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert!(types.contains(&"m.room.power_levels") && !types.contains(&"m.room.create"));
    // Bob's join is the last event.
    let members = state
        .iter()
        .filter(|event| event["type"] == "m.room.member");
    let members: Vec<_> = members.map(|event| &event["state_key"]).collect();
    assert_eq!(members, [&json!(bob.user_id)]);
    let again = alice.post(STABLE, body(Some(&first["pos"]), 1)).await.ok();
    assert_eq!(again["rooms"], json!({}));
    let more = alice.post(STABLE, body(Some(&again["pos"]), 9)).await.ok();
    assert_eq!(more["rooms"][&room_id]["expanded_timeline"], true);
    let unknown = alice.post(STABLE, body(Some(&json!("x")), 1)).await;
    assert_eq!(unknown.refused(), (400, "M_UNKNOWN_POS"));
    let mut asleep = body(None, 1);
    asleep["set_presence"] = json!("asleep");
    let refused = alice.post(STABLE, asleep).await;
    assert_eq!(refused.refused(), (400, "M_INVALID_PARAM"));
}
