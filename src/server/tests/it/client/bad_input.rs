//! What every group of endpoints refuses, and that refusing leaves nothing behind.

use http::Method;
use serde_json::json;

use crate::app::{TestApp, encoded};

const ROOMS: &str = "/_matrix/client/v3/rooms";

#[tokio::test]
async fn malformed_json_is_not_json() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let calls = [
        (Method::POST, "/_matrix/client/v3/createRoom".to_owned()),
        (
            Method::PUT,
            format!("{ROOMS}/{room_id}/send/m.room.message/t1"),
        ),
        (Method::PUT, format!("{ROOMS}/{room_id}/state/m.room.name/")),
        (
            Method::PUT,
            format!("{ROOMS}/{room_id}/typing/{}", encoded(&alice.user_id)),
        ),
        (Method::POST, format!("{ROOMS}/{room_id}/invite")),
        (Method::POST, format!("{ROOMS}/{room_id}/read_markers")),
        (
            Method::PUT,
            "/_matrix/client/v3/directory/room/%23a%3Alocalhost".to_owned(),
        ),
        (Method::POST, "/_matrix/client/v3/publicRooms".to_owned()),
        (Method::POST, "/_matrix/client/v3/login".to_owned()),
        (Method::POST, "/_matrix/client/v3/register".to_owned()),
    ];
    for (method, path) in calls {
        for body in ["{", "{\"a\":", "nonsense", "{\"a\":NaN}", "{\"a\":1,}"] {
            let answer = alice.call(method.clone(), &path, body).await;
            assert_eq!(
                answer.refused(),
                (400, "M_NOT_JSON"),
                "{method} {path} {body}"
            );
        }
        let answer = alice
            .call(method.clone(), &path, &b"{\"a\":\"\xff\"}"[..])
            .await;
        assert_eq!(answer.refused(), (400, "M_NOT_JSON"), "{method} {path}");
    }
}

#[tokio::test]
async fn wrong_types_are_bad_json() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let create = |body| {
        let path = "/_matrix/client/v3/createRoom";
        (Method::POST, path.to_owned(), body)
    };
    let calls = [
        create(json!({ "name": 7 })),
        create(json!({ "room_version": 11 })),
        create(json!({ "invite": "bob" })),
        create(json!({ "invite": ["bob"] })),
        (
            Method::POST,
            format!("{ROOMS}/{room_id}/invite"),
            json!({ "user_id": 1.5 }),
        ),
        (Method::POST, format!("{ROOMS}/{room_id}/kick"), json!({})),
        (
            Method::POST,
            format!("{ROOMS}/{room_id}/ban"),
            json!({ "user_id": "bob" }),
        ),
        (
            Method::PUT,
            format!("{ROOMS}/{room_id}/send/m.room.message/t"),
            json!(["a"]),
        ),
        (
            Method::PUT,
            format!("{ROOMS}/{room_id}/state/m.room.name/"),
            json!("a"),
        ),
        (
            Method::POST,
            "/_matrix/client/v3/publicRooms".to_owned(),
            json!({ "limit": -1 }),
        ),
        (
            Method::POST,
            "/_matrix/client/v3/login".to_owned(),
            json!({ "type": 5 }),
        ),
    ];
    for (method, path, body) in calls {
        let answer = alice.call(method.clone(), &path, body.to_string()).await;
        assert_eq!(
            answer.refused(),
            (400, "M_BAD_JSON"),
            "{method} {path} {body}"
        );
    }
}

#[tokio::test]
async fn numbers_that_are_not_integers_of_53_bits_are_bad_json_in_events() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    for (index, number) in ["9007199254740992", "-9007199254740992", "1.1", "1e400"]
        .iter()
        .enumerate()
    {
        let body = format!("{{\"body\":{number}}}");
        let send = format!("{ROOMS}/{room_id}/send/m.test/{index}");
        let answer = alice.call(Method::PUT, &send, body.clone()).await;
        assert_eq!(answer.refused(), (400, "M_BAD_JSON"), "{number}");
        let state = format!("{ROOMS}/{room_id}/state/m.test/");
        let answer = alice.call(Method::PUT, &state, body).await;
        assert_eq!(answer.refused(), (400, "M_BAD_JSON"), "{number}");
    }
    assert_eq!(
        alice.state(&room_id, "m.test", "").await.refused(),
        (404, "M_NOT_FOUND")
    );
}

#[tokio::test]
async fn deep_nesting_is_bad_json() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let path = format!("{ROOMS}/{room_id}/send/m.room.message/t");
    assert_eq!(
        alice.call(Method::PUT, &path, deep).await.refused(),
        (400, "M_BAD_JSON")
    );
}

#[tokio::test]
async fn oversized_events_and_bodies_are_too_large() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let send = format!("{ROOMS}/{room_id}/send/m.room.message/t");
    let answer = alice
        .put(&send, json!({ "body": "x".repeat(70_000) }))
        .await;
    assert_eq!(answer.refused(), (413, "M_TOO_LARGE"));
    let answer = alice
        .set_state(
            &room_id,
            "m.test",
            "",
            json!({ "body": "x".repeat(70_000) }),
        )
        .await;
    assert_eq!(answer.refused(), (413, "M_TOO_LARGE"));
    let answer = alice
        .call(Method::PUT, &send, vec![b' '; 20 * 1024 * 1024])
        .await;
    assert_eq!(answer.refused(), (413, "M_TOO_LARGE"));
    assert_eq!(
        alice.state(&room_id, "m.test", "").await.refused(),
        (404, "M_NOT_FOUND")
    );
}

#[tokio::test]
async fn unknown_paths_are_404_and_unknown_methods_405() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    for path in [
        "/_matrix/client/v3/nothing",
        "/_matrix",
        "/_matrix/client/v9/sync",
        "/",
    ] {
        assert_eq!(
            alice.get(path).await.refused(),
            (404, "M_UNRECOGNIZED"),
            "{path}"
        );
    }
    for (method, path) in [
        (Method::DELETE, "/_matrix/client/v3/createRoom"),
        (Method::PATCH, "/_matrix/client/v3/login"),
        (Method::POST, "/_matrix/client/v3/joined_rooms"),
        (
            Method::GET,
            "/_matrix/client/v3/rooms/!a:localhost/send/m.room.message/t",
        ),
    ] {
        let answer = alice.call(method.clone(), path, "").await;
        assert_eq!(answer.refused(), (405, "M_UNRECOGNIZED"), "{method} {path}");
    }
}

#[tokio::test]
async fn missing_and_foreign_tokens_are_401() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let mut stranger = app.unauthenticated();
    for path in [
        "/_matrix/client/v3/joined_rooms".to_owned(),
        "/_matrix/client/v3/account/whoami".to_owned(),
        "/_matrix/client/v3/capabilities".to_owned(),
        format!("{ROOMS}/{room_id}/state"),
        format!("{ROOMS}/{room_id}/members"),
    ] {
        stranger.token = None;
        assert_eq!(
            stranger.get(&path).await.refused(),
            (401, "M_MISSING_TOKEN"),
            "{path}"
        );
        for token in ["x", "syt_abc", "%00", &"a".repeat(5000)] {
            stranger.token = Some(token.to_owned());
            assert_eq!(
                stranger.get(&path).await.refused(),
                (401, "M_UNKNOWN_TOKEN"),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn invalid_identifiers_are_invalid_params() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    for path in [
        format!("{ROOMS}/nonsense/state"),
        format!("{ROOMS}/{room_id}/event/nonsense"),
        format!("{ROOMS}/%ff/members"),
        "/_matrix/client/v3/directory/room/nonsense".to_owned(),
        "/_matrix/client/v3/profile/nonsense".to_owned(),
        format!("{ROOMS}/{room_id}/messages?dir=sideways"),
        format!("{ROOMS}/{room_id}/messages?dir=b&from=nonsense"),
        format!("{ROOMS}/{room_id}/messages?dir=b&limit=x"),
        format!("{ROOMS}/{room_id}/messages?dir=b&filter=x"),
        format!("{ROOMS}/{room_id}/members?at=nonsense"),
    ] {
        let answer = alice.get(&path).await;
        assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"), "{path}");
    }
}

#[tokio::test]
async fn every_route_answers_malformed_paths_with_a_matrix_error() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let routes = api::routes::all().table();
    assert!(routes.iter().any(|route| route.path.contains('{')));
    for route in routes {
        let segments: Vec<&str> = route.path.split('/').collect();
        for (index, _) in segments
            .iter()
            .enumerate()
            .filter(|(_, s)| s.starts_with('{'))
        {
            for malformed in ["%ff", "%00"] {
                let mut segments = segments.clone();
                segments[index] = malformed;
                let path = segments.join("/").replace(['{', '}'], "");
                let answer = alice.call(route.method.clone(), &path, "{}").await;
                let name = format!("{} {path}", route.method);
                assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"), "{name}");
                assert!(answer.body["error"].is_string(), "{name}");
            }
        }
    }
}
