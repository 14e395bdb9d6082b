//! `/user_directory/search`.

use std::ops::ControlFlow;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::app::{TestApp, TestUser};

const SEARCH: &str = "/_matrix/client/v3/user_directory/search";

async fn search(user: &TestUser, term: &str, limit: u32) -> Value {
    let body = json!({ "search_term": term, "limit": limit });
    user.post(SEARCH, body).await.ok()
}

/// The localparts of those who are found.
async fn found(user: &TestUser, term: &str) -> Vec<String> {
    let answer = search(user, term, 50).await;
    assert_eq!(answer["limited"], false);
    let users = answer["results"].as_array().unwrap().iter();
    let localpart = |user: &Value| {
        let user_id = user["user_id"].as_str().unwrap();
        user_id[1..].split(':').next().unwrap().to_owned()
    };
    users.map(localpart).collect()
}

async fn rename(user: &TestUser, field: &str, value: &str) {
    let path = format!("/_matrix/client/v3/profile/{}/{field}", user.user_id);
    user.put(&path, json!({ field: value })).await.ok();
}

/// Searches until the follower has come so far that these are found.
async fn until_found(app: &TestApp, user: &TestUser, term: &str, wanted: &[&str]) {
    let stopping = CancellationToken::new();
    let follow = app.app.identity.follow_memberships(stopping.clone());
    let search = async {
        let mut last = Vec::new();
        for _ in 0..10_000 {
            last = found(user, term).await;
            if last == wanted {
                return ControlFlow::Continue(());
            }
        }
        ControlFlow::Break(last)
    };
    let outcome = async {
        let outcome = search.await;
        stopping.cancel();
        outcome
    };
    let (followed, outcome) = tokio::join!(follow, outcome);
    followed.unwrap();
    assert_eq!(outcome, ControlFlow::Continue(()));
}

#[tokio::test]
async fn users_who_share_a_room_find_each_other_and_nobody_else() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let eve = app.user("eve").await;
    rename(&bob, "displayname", "Robert Müller").await;
    rename(&bob, "avatar_url", "mxc://localhost/bob").await;
    let room_id = alice.create_room(json!({ "preset": "private_chat" })).await;
    alice.invite(&room_id, &bob).await.ok();
    assert!(found(&alice, "bob").await.is_empty());
    bob.join(&room_id).await.ok();
    let answer = search(&alice, "rob MULL", 10).await;
    let expected = json!([{
        "user_id": bob.user_id, "display_name": "Robert Müller", "avatar_url": "mxc://localhost/bob",
    }]);
    assert_eq!(answer["results"], expected);
    for term in ["bob", "BO", &bob.user_id, "@bob:te", "müller robert"] {
        assert_eq!(found(&alice, term).await, ["bob"], "{term}");
        assert!(found(&eve, term).await.is_empty(), "{term}");
    }
    // Neither are words found from their middle, nor the own user.
    for term in ["ob", "bob alice", "alice", "localhost", "@bob:elsewhere"] {
        assert!(found(&alice, term).await.is_empty(), "{term}");
    }
    bob.leave(&room_id).await.ok();
    assert!(found(&alice, "bob").await.is_empty());
}

#[tokio::test]
async fn names_of_private_rooms_are_never_shown() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.private_room().await;
    bob.join(&room_id).await.ok();
    let member = json!({ "membership": "join", "displayname": "Freddy" });
    let set = bob.set_state(&room_id, "m.room.member", &bob.user_id, member);
    set.await.ok();
    assert!(found(&alice, "freddy").await.is_empty());
    let answer = search(&alice, "bob", 10).await;
    assert_eq!(answer["results"][0]["display_name"], "bob");
}

#[tokio::test]
async fn members_of_rooms_that_anybody_may_join_or_read_are_found_by_all() {
    let app = TestApp::start().await;
    let (alice, eve) = (app.user("alice").await, app.user("eve").await);
    let room_id = alice.create_room(json!({ "preset": "private_chat" })).await;
    assert!(found(&eve, "alice").await.is_empty());
    for (event_type, open, closed) in [
        (
            "m.room.join_rules",
            json!({ "join_rule": "public" }),
            json!({ "join_rule": "invite" }),
        ),
        (
            "m.room.history_visibility",
            json!({ "history_visibility": "world_readable" }),
            json!({ "history_visibility": "shared" }),
        ),
    ] {
        alice.set_state(&room_id, event_type, "", open).await.ok();
        until_found(&app, &eve, "alice", &["alice"]).await;
        alice.set_state(&room_id, event_type, "", closed).await.ok();
        until_found(&app, &eve, "alice", &[]).await;
    }
}

#[tokio::test]
async fn all_users_of_the_server_are_found_if_configured_and_deactivated_ones_are_not() {
    let app = TestApp::start_with(|config| {
        config.user_directory.search = config::UserSearch::All;
    })
    .await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    assert_eq!(found(&alice, "bob").await, ["bob"]);
    let path = format!("/_matrix/client/v3/profile/{}/displayname", bob.user_id);
    bob.delete(&path).await.ok();
    let answer = search(&alice, "bob", 10).await;
    assert_eq!(answer["results"], json!([{ "user_id": bob.user_id }]));
    let auth = json!({
        "type": "m.login.password", "password": crate::app::PASSWORD,
        "identifier": { "type": "m.id.user", "user": bob.user_id },
    });
    let path = "/_matrix/client/v3/account/deactivate";
    bob.post(path, json!({ "auth": auth })).await.ok();
    assert!(found(&alice, "bob").await.is_empty());
}

#[tokio::test]
async fn results_are_ranked_and_limited() {
    let app = TestApp::start_with(|config| {
        config.user_directory.search = config::UserSearch::All;
    })
    .await;
    let alice = app.user("alice").await;
    for (localpart, name) in [
        ("a1", "Zoe Anna"),
        ("a2", "Annabel"),
        ("a3", "Anna"),
        ("anna", "Somebody"),
        ("a4", "Anna Zoe"),
    ] {
        rename(&app.user(localpart).await, "displayname", name).await;
    }
    let ranked = ["a3", "anna", "a4", "a2", "a1"];
    assert_eq!(found(&alice, "ánna").await, ranked);
    for limit in 0..6 {
        let answer = search(&alice, "anna", limit).await;
        let count = (limit as usize).min(5);
        assert_eq!(answer["results"].as_array().unwrap().len(), count);
        assert_eq!(answer["limited"], limit < 5, "{limit}");
    }
}

#[tokio::test]
async fn odd_terms_find_nobody_and_malformed_requests_are_refused() {
    let app = TestApp::start_with(|config| {
        config.user_directory.search = config::UserSearch::All;
    })
    .await;
    let (alice, _bob) = (app.user("alice").await, app.user("bob").await);
    for term in ["", " ", "\0", "@", "%", "':*", "\\", "&|!"] {
        assert!(found(&alice, term).await.is_empty(), "{term:?}");
    }
    assert_eq!(found(&alice, "bob\0").await, ["bob"]);
    for (body, errcode) in [
        (json!({}), "M_BAD_JSON"),
        (json!({ "search_term": 1 }), "M_BAD_JSON"),
        (json!({ "search_term": "a", "limit": -1 }), "M_BAD_JSON"),
        (
            json!({ "search_term": "a".repeat(1025) }),
            "M_INVALID_PARAM",
        ),
    ] {
        let answer = alice.post(SEARCH, body).await;
        assert_eq!(answer.refused(), (400, errcode));
    }
    let stranger = app.unauthenticated();
    let answer = stranger.post(SEARCH, json!({ "search_term": "a" }));
    assert_eq!(answer.await.refused(), (401, "M_MISSING_TOKEN"));
}
