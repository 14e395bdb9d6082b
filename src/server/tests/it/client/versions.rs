//! `/versions` and `/capabilities`.

use ruma::RoomVersionId;
use serde_json::json;

use crate::app::TestApp;

#[tokio::test]
async fn versions_and_capabilities_are_listed() {
    let app = TestApp::start().await;
    let answer = app
        .unauthenticated()
        .get("/_matrix/client/versions")
        .await
        .ok();
    let versions = answer["versions"].as_array().unwrap();
    assert!(!versions.is_empty());
    for version in versions {
        let version = version.as_str().unwrap();
        let (form, numbers) = match version.strip_prefix('r') {
            Some(numbers) => (3, numbers),
            None => (2, version.strip_prefix('v').unwrap()),
        };
        let numbers: Result<Vec<u8>, _> = numbers.split('.').map(str::parse).collect();
        assert_eq!(numbers.unwrap().len(), form, "{version}");
    }
    // Who finds it leaves threads to the server.
    assert!(versions.contains(&"v1.4".into()));
    let features = answer["unstable_features"].as_object().unwrap();
    assert!(features.values().all(serde_json::Value::is_boolean));

    let alice = app.user("alice").await;
    let answer = alice.get("/_matrix/client/v3/capabilities").await.ok();
    let capabilities = &answer["capabilities"];
    let rooms = &capabilities["m.room_versions"];
    let default = rooms["default"].as_str().unwrap();
    assert_eq!(default, "12");
    let available = rooms["available"].as_object().unwrap();
    assert_eq!(available.len(), 12);
    assert!(available.values().all(|stability| stability == "stable"));
    assert_eq!(capabilities["m.change_password"]["enabled"], true);
}

#[tokio::test]
async fn rooms_are_created_in_the_configured_version_if_none_is_named() {
    let app = TestApp::start_with(|config| config.rooms.default_version = RoomVersionId::V10).await;
    let alice = app.user("alice").await;
    let answer = alice.get("/_matrix/client/v3/capabilities").await.ok();
    let versions = &answer["capabilities"]["m.room_versions"];
    assert_eq!(versions["default"], "10");

    for (request, expected) in [
        (json!({}), "10"),
        (json!({ "room_version": "11" }), "11"),
        (json!({ "room_version": "2" }), "2"),
    ] {
        let room_id = alice.create_room(request).await;
        let create = format!("/_matrix/client/v3/rooms/{room_id}/state/m.room.create");
        assert_eq!(alice.get(&create).await.ok()["room_version"], expected);
    }
}
