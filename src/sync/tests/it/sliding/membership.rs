//! Rooms that the user is invited to, has left, or was removed from.

use serde_json::{Value, json};
use storage::{UserChange, stream::AccountData};
use testkit::room::{TestRoom, commit_changes};

use super::{Client, config, of, rooms_in, state_keys};
use crate::support::{alice, bob, bodies, event_types, server, set_topic};

const MEMBER: &str = "m.room.member";

/// Bob's client, which asks for his own membership, as clients do to learn that they left.
async fn bobs(server: &crate::support::Server) -> Client {
    let mut client = Client::new(server, &bob()).await;
    client.list("all", (0, 9), config(10, &[(MEMBER, bob().as_str())]));
    client
}

fn own_membership<'a>(answer: &'a Value, room: &TestRoom) -> &'a Value {
    let room = of(answer, room);
    assert_eq!(state_keys(room), [(MEMBER, bob().as_str())]);
    &room["required_state"][0]["content"]["membership"]
}

#[tokio::test]
async fn left_room_is_sent_once_and_begins_anew_after_a_join() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let mut client = bobs(&server).await;
    client.sync(&server).await;
    room.message(&server.db, &alice(), "before").await;
    room.member(&server.db, &bob(), &bob(), "leave").await;
    room.message(&server.db, &alice(), "after").await;
    let lost = client.peek(&server).await;
    assert_eq!(own_membership(&lost, &room), "leave");
    let answer = client.sync(&server).await;
    assert_eq!(own_membership(&answer, &room), "leave");
    assert_eq!(bodies(&of(&answer, &room)["timeline"]), ["before"]);
    let answer = client.sync(&server).await;
    assert_eq!(
        (rooms_in(&answer), &answer["lists"]["all"]["count"]),
        (0, &json!(0))
    );
    set_topic(&server, &room, "unseen").await;
    assert_eq!(rooms_in(&client.sync(&server).await), 0);
    // A new connection is not told of it.
    let mut other = bobs(&server).await;
    assert_eq!(rooms_in(&other.sync(&server).await), 0);
    room.member(&server.db, &bob(), &bob(), "join").await;
    let answer = client.sync(&server).await;
    assert_eq!(own_membership(&answer, &room), "join");
    assert_eq!(of(&answer, &room)["initial"], true);
}

#[tokio::test]
async fn removed_user_is_told_of_it_on_every_connection_once() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let mut client = bobs(&server).await;
    client.sync(&server).await;
    room.member(&server.db, &alice(), &bob(), "ban").await;
    room.message(&server.db, &alice(), "unseen").await;
    let answer = client.sync(&server).await;
    assert_eq!(own_membership(&answer, &room), "ban");
    assert_eq!(bodies(&of(&answer, &room)["timeline"]), [""; 0]);
    assert_eq!(rooms_in(&client.sync(&server).await), 0);
    let mut other = bobs(&server).await;
    let answer = other.sync(&server).await;
    assert_eq!(own_membership(&answer, &room), "ban");
    assert_eq!(of(&answer, &room)["initial"], true);
    assert_eq!(rooms_in(&other.sync(&server).await), 0);
}

#[tokio::test]
async fn invitation_shows_stripped_state_and_then_the_room() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let mut client = bobs(&server).await;
    client.sync(&server).await;
    room.member(&server.db, &alice(), &bob(), "invite").await;
    let answer = client.sync(&server).await;
    let invited = of(&answer, &room);
    let state = event_types(&invited["invite_state"]);
    assert!(
        state.contains(&"m.room.create") && state.contains(&MEMBER),
        "{state:?}"
    );
    assert!(invited["bump_stamp"].is_i64() && invited["initial"] == true);
    for field in ["timeline", "required_state", "joined_count"] {
        assert!(invited.get(field).is_none(), "{field}");
    }
    // What happens in the room is nothing for those who are not in it.
    room.message(&server.db, &alice(), "unseen").await;
    assert_eq!(rooms_in(&client.sync(&server).await), 0);
    room.member(&server.db, &bob(), &bob(), "join").await;
    let answer = client.sync(&server).await;
    assert_eq!(own_membership(&answer, &room), "join");
    assert_eq!(of(&answer, &room)["initial"], true);
}

#[tokio::test]
async fn withdrawn_invitation_is_told_to_those_who_were_told_of_it() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let mut client = bobs(&server).await;
    room.member(&server.db, &alice(), &bob(), "invite").await;
    client.sync(&server).await;
    room.member(&server.db, &alice(), &bob(), "leave").await;
    let answer = client.sync(&server).await;
    assert_eq!(own_membership(&answer, &room), "leave");
    assert_eq!(event_types(&of(&answer, &room)["timeline"]), [MEMBER]);
    assert_eq!(rooms_in(&client.sync(&server).await), 0);
    let mut other = bobs(&server).await;
    assert_eq!(rooms_in(&other.sync(&server).await), 0);
}

#[tokio::test]
async fn knock_is_sent_with_stripped_state() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let rules = json!({ "join_rule": "knock" });
    room.state(&server.db, &alice(), "m.room.join_rules", "", rules)
        .await;
    room.member(&server.db, &bob(), &bob(), "knock").await;
    let mut client = bobs(&server).await;
    let answer = client.sync(&server).await;
    let state = of(&answer, &room)["invite_state"].as_array().unwrap();
    let own = state
        .iter()
        .find(|event| event["state_key"] == bob().as_str());
    assert_eq!(own.unwrap()["content"]["membership"], "knock");
}

#[tokio::test]
async fn invitations_of_ignored_users_are_not_listed() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let list = json!({ "ignored_users": { alice().as_str(): {} } }).to_string();
    let ignored = UserChange::AccountData(AccountData {
        user_id: bob(),
        room_nid: None,
        event_type: "m.ignored_user_list".to_owned(),
        content: list,
    });
    commit_changes(&server.db, [ignored]).await;
    room.member(&server.db, &alice(), &bob(), "invite").await;
    let answer = bobs(&server).await.sync(&server).await;
    assert_eq!(
        (rooms_in(&answer), &answer["lists"]["all"]["count"]),
        (0, &json!(0))
    );
}

#[tokio::test]
async fn subscription_to_a_room_of_others_shows_nothing() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let mut client = Client::new(&server, &bob()).await;
    client.subscribe(&room, config(10, &[("*", "*")]));
    assert_eq!(rooms_in(&client.sync(&server).await), 0);
    room.message(&server.db, &alice(), "unseen").await;
    assert_eq!(rooms_in(&client.sync(&server).await), 0);
    room.member(&server.db, &bob(), &bob(), "join").await;
    let answer = client.sync(&server).await;
    assert_eq!(of(&answer, &room)["initial"], true);
    assert_eq!(bodies(&of(&answer, &room)["timeline"]), ["unseen"]);
}
