//! What is told of a joined room.

use serde_json::{Value, json};
use sync::sliding_sync::Format;
use testkit::room::{TestRoom, commit_changes};

use super::{Client, config, of, rooms_in, state_keys};
use crate::support::{alice, bob, bodies, server, set_topic, set_visibility};

const MEMBER: &str = "m.room.member";

#[tokio::test]
async fn required_state_is_sent_once_and_when_it_changes() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    for (event_type, key) in [("org.x", "a"), ("org.x", "b"), ("org.y", "a")] {
        room.state(&server.db, &alice(), event_type, key, json!({}))
            .await;
    }
    let mut client = Client::new(&server, &alice()).await;
    let (alice, bob) = (alice(), bob());
    let required = [
        ("org.x", "*"),
        ("m.room.topic", ""),
        (MEMBER, alice.as_str()),
    ];
    client.list("all", (0, 9), config(1, &required));
    let answer = client.sync(&server).await;
    let expected = [(MEMBER, alice.as_str()), ("org.x", "a"), ("org.x", "b")];
    assert_eq!(state_keys(of(&answer, &room)), expected);
    room.message(&server.db, &bob, "nothing changed").await;
    let answer = client.sync(&server).await;
    assert!(of(&answer, &room).get("required_state").is_none());
    set_topic(&server, &room, "now").await;
    room.state(&server.db, &alice, "org.y", "a", json!({ "n": 2 }))
        .await;
    let answer = client.sync(&server).await;
    let room_now = of(&answer, &room);
    assert_eq!(state_keys(room_now), [("m.room.topic", "")]);
    assert_eq!(room_now["required_state"][0]["content"]["topic"], "now");
    let all = config(1, &[("*", "*")]);
    let mut everything = Client::new(&server, &alice).await;
    everything.list("all", (0, 9), all);
    let answer = everything.sync(&server).await;
    let keys = state_keys(of(&answer, &room));
    for key in [
        ("org.y", "a"),
        (MEMBER, bob.as_str()),
        ("m.room.create", ""),
    ] {
        assert!(keys.contains(&key), "{key:?} in {keys:?}");
    }
}

#[tokio::test]
async fn members_are_sent_with_the_events_that_mention_them() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    for n in 0..3 {
        room.message(&server.db, &alice(), &n.to_string()).await;
    }
    let (alice, bob) = (alice(), bob());
    let mut client = Client::new(&server, &bob).await;
    client.list("all", (0, 9), config(1, &[("*", "*"), (MEMBER, "$LAZY")]));
    let answer = client.sync(&server).await;
    let members = |answer: &Value| {
        let keys = state_keys(of(answer, &room)).into_iter();
        let members = keys.filter(|(event_type, _)| *event_type == MEMBER);
        members.map(|(_, user)| user.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(members(&answer), [alice.as_str()]);
    room.message(&server.db, &bob, "mine").await;
    assert_eq!(members(&client.sync(&server).await), [bob.as_str()]);
    // Without a gap all changes of members are sent.
    let carol = ruma::owned_user_id!("@carol:test.localhost");
    room.member(&server.db, &carol, &carol, "join").await;
    assert_eq!(members(&client.sync(&server).await), [carol.as_str()]);
}

#[tokio::test]
async fn more_required_state_is_sent_at_once() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    set_topic(&server, &room, "then").await;
    let mut client = Client::new(&server, &alice()).await;
    client.list("all", (0, 9), config(1, &[("m.room.create", "")]));
    client.sync(&server).await;
    client.subscribe(&room, config(1, &[("m.room.topic", ""), ("org.none", "")]));
    let answer = client.sync(&server).await;
    assert_eq!(state_keys(of(&answer, &room)), [("m.room.topic", "")]);
    assert!(of(&answer, &room).get("timeline").is_none());
    assert_eq!(rooms_in(&client.sync(&server).await), 0);
    // What did not change meanwhile is not sent again, and what changed is.
    client.request.subscriptions.clear();
    client.sync(&server).await;
    client.subscribe(&room, config(1, &[("m.room.topic", "")]));
    assert_eq!(rooms_in(&client.sync(&server).await), 0);
    client.request.subscriptions.clear();
    set_topic(&server, &room, "now").await;
    let answer = client.sync(&server).await;
    assert!(of(&answer, &room).get("required_state").is_none());
    client.subscribe(&room, config(1, &[("m.room.topic", "")]));
    let answer = client.sync(&server).await;
    assert_eq!(
        of(&answer, &room)["required_state"][0]["content"]["topic"],
        "now"
    );
}

#[tokio::test]
async fn longer_timeline_is_sent_at_once() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    for n in 0..30 {
        room.message(&server.db, &alice(), &n.to_string()).await;
    }
    let mut client = Client::new(&server, &alice()).await;
    client.list("all", (0, 9), config(1, &[]));
    let answer = client.sync(&server).await;
    assert_eq!(bodies(&of(&answer, &room)["timeline"]), ["29"]);
    client.subscribe(&room, config(28, &[]));
    let answer = client.sync(&server).await;
    let expanded = of(&answer, &room);
    assert_eq!(expanded["unstable_expanded_timeline"], true);
    assert_eq!(
        (&expanded["limited"], &expanded["num_live"]),
        (&json!(true), &json!(0))
    );
    let timeline = bodies(&expanded["timeline"]);
    assert_eq!((timeline.len(), timeline[0]), (28, "2"));
    assert!(expanded["prev_batch"].is_string() && expanded.get("initial").is_none());
    assert_eq!(rooms_in(&client.sync(&server).await), 0);

    // What the client has stays there, until it misses something.
    client.request.subscriptions.clear();
    room.message(&server.db, &alice(), "one more").await;
    client.sync(&server).await;
    client.subscribe(&room, config(28, &[]));
    assert_eq!(rooms_in(&client.sync(&server).await), 0);
    client.request.subscriptions.clear();
    for n in 0..2 {
        room.message(&server.db, &alice(), &n.to_string()).await;
    }
    assert_eq!(of(&client.sync(&server).await, &room)["limited"], true);
    client.subscribe(&room, config(28, &[]));
    let answer = client.sync(&server).await;
    assert_eq!(bodies(&of(&answer, &room)["timeline"]).len(), 28);
}

#[tokio::test]
async fn longer_timeline_shows_nothing_that_is_hidden() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    set_visibility(&server, &room, "joined").await;
    room.message(&server.db, &alice(), "secret").await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    room.message(&server.db, &alice(), "hello").await;
    let mut client = Client::new(&server, &bob()).await;
    client.list("all", (0, 9), config(1, &[]));
    client.sync(&server).await;
    client.list("all", (0, 9), config(20, &[]));
    let answer = client.sync(&server).await;
    assert_eq!(bodies(&of(&answer, &room)["timeline"]), ["hello"]);
}

#[tokio::test]
async fn name_avatar_and_counts_are_sent_when_they_change() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let mut client = Client::of_all_rooms(&server, &alice()).await;
    let answer = client.sync(&server).await;
    let unnamed = of(&answer, &room);
    assert_eq!(unnamed["heroes"][0]["user_id"], bob().as_str());
    assert!(unnamed.get("name").is_none() && unnamed.get("avatar").is_none());
    assert_eq!(
        (&unnamed["joined_count"], &unnamed["invited_count"]),
        (&json!(2), &json!(0))
    );
    let set = async |event_type: &str, content: Value| {
        room.state(&server.db, &alice(), event_type, "", content)
            .await;
    };
    set("m.room.name", json!({ "name": "Budget" })).await;
    set("m.room.avatar", json!({ "url": "mxc://test.localhost/a" })).await;
    let answer = client.sync(&server).await;
    let named = of(&answer, &room);
    assert_eq!(
        (&named["name"], &named["avatar"]),
        (&json!("Budget"), &json!("mxc://test.localhost/a"))
    );
    assert!(named.get("heroes").is_none());
    room.message(&server.db, &alice(), "unchanged").await;
    let answer = client.sync(&server).await;
    for field in ["name", "avatar", "joined_count", "heroes"] {
        assert!(of(&answer, &room).get(field).is_none(), "{field}");
    }
    set("m.room.name", json!({})).await;
    set("m.room.avatar", json!({})).await;
    let answer = client.sync(&server).await;
    let gone = of(&answer, &room).as_object().unwrap();
    assert_eq!(
        (gone.get("name"), gone.get("avatar")),
        (Some(&Value::Null), Some(&Value::Null))
    );
    assert_eq!(gone["heroes"][0]["user_id"], bob().as_str());
}

#[tokio::test]
async fn only_messages_make_a_room_more_recent() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let mut client = Client::of_all_rooms(&server, &alice()).await;
    let stamp = |answer: &Value| of(answer, &room)["bump_stamp"].as_i64();
    let created = stamp(&client.sync(&server).await).unwrap();
    let event_id = room.message(&server.db, &alice(), "hello").await;
    let spoken = stamp(&client.sync(&server).await).unwrap();
    assert!(created < spoken);
    let annotation = json!({ "m.relates_to":
        { "rel_type": "m.annotation", "event_id": event_id, "key": "+" } });
    room.event(&server.db, &alice(), "m.reaction", annotation)
        .await;
    set_topic(&server, &room, "new").await;
    let answer = client.sync(&server).await;
    assert_eq!((stamp(&answer), rooms_in(&answer)), (None, 1));
    // Another process finds the last message, though it is long ago.
    for n in 0..70 {
        set_topic(&server, &room, &n.to_string()).await;
    }
    let restarted = server.restarted().await;
    client.request.pos = None;
    assert_eq!(stamp(&client.sync(&restarted).await), Some(spoken));
}

#[tokio::test]
async fn unread_notifications_are_counted() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let mut client = Client::of_all_rooms(&server, &bob()).await;
    client.sync(&server).await;
    let event_id = room.message(&server.db, &alice(), "hello").await;
    let answer = client.sync(&server).await;
    assert_eq!(of(&answer, &room)["notification_count"], 1);
    assert_eq!(of(&answer, &room)["highlight_count"], 0);
    let receipt = room
        .receipt(&server.db, &bob(), "m.read.private", "", &event_id)
        .await;
    commit_changes(&server.db, [receipt]).await;
    let answer = client.sync(&server).await;
    assert_eq!(of(&answer, &room)["notification_count"], 0);
}

#[tokio::test]
async fn own_events_have_their_transaction_ids_and_ignored_users_are_left_out() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let mut client = Client::of_all_rooms(&server, &alice()).await;
    client.sync(&server).await;
    room.message_from(&server.db, &alice(), "PHONE", "mine")
        .await;
    let list = json!({ "ignored_users": { bob().as_str(): {} } }).to_string();
    let ignored = storage::UserChange::AccountData(storage::stream::AccountData {
        user_id: alice(),
        room_nid: None,
        event_type: "m.ignored_user_list".to_owned(),
        content: list,
    });
    commit_changes(&server.db, [ignored]).await;
    room.message(&server.db, &bob(), "noise").await;
    let answer = client.sync(&server).await;
    let timeline = &of(&answer, &room)["timeline"];
    assert_eq!(bodies(timeline), ["mine"]);
    assert_eq!(timeline[0]["unsigned"]["transaction_id"], "mine");
    assert_eq!(timeline[0]["unsigned"]["membership"], "join");
}

#[tokio::test]
async fn accepted_proposal_names_some_fields_differently() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let mut client = Client::of_all_rooms(&server, &alice()).await;
    client.list("all", (0, 9), config(1, &[]));
    client.request.format = Format::Stable;
    let answer = client.sync(&server).await;
    let first = of(&answer, &room);
    assert_eq!(
        (&first["membership"], &first["lists"]),
        (&json!("join"), &json!(["all"]))
    );
    assert!(first.get("notification_count").is_none());
    client.list("all", (0, 9), config(20, &[]));
    let answer = client.sync(&server).await;
    assert_eq!(of(&answer, &room)["expanded_timeline"], true);
    room.member(&server.db, &alice(), &bob(), "invite").await;
    let mut invited = Client::of_all_rooms(&server, &bob()).await;
    invited.request.format = Format::Stable;
    let answer = invited.sync(&server).await;
    assert_eq!(of(&answer, &room)["membership"], "invite");
    assert!(of(&answer, &room)["stripped_state"].is_array());
}
