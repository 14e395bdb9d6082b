//! Who is told of whose presence.

use std::time::Duration;

use live::{PresenceState, RemotePresence};
use ruma::{DeviceId, OwnedUserId, UserId, device_id, owned_user_id};
use serde_json::{Value, json};
use testkit::{queries_of, room::TestRoom};

use crate::support::{Server, alice, bob, bodies, filter, next, request, server};

const LONG: Duration = Duration::from_hours(1);

fn carol() -> OwnedUserId {
    owned_user_id!("@carol:test.localhost")
}

fn laptop() -> &'static DeviceId {
    device_id!("LAPTOP")
}

impl Server {
    fn set_presence(&self, user_id: &UserId, state: PresenceState, status_msg: &str) {
        let status_msg = Some(status_msg.to_owned()).filter(|text| !text.is_empty());
        self.live.set_presence(user_id, laptop(), state, status_msg);
    }

    /// Waits for the next change of somebody's presence.
    async fn wait_for_presence(&self, user_id: &UserId, token: &mut String) -> Value {
        let mut waits = request(user_id, Some(token));
        waits.timeout = LONG;
        loop {
            let answer = self.ask(&waits).await;
            *token = next(&answer);
            waits.since = Some(token.parse().expect("a token"));
            if !presence(&answer).is_null() {
                return presence(&answer);
            }
        }
    }
}

/// Who is told of as what, without the times.
fn presence(answer: &Value) -> Value {
    let events = answer["presence"]["events"].as_array();
    let Some(events) = events else {
        return Value::Null;
    };
    let mut told: Vec<(&str, &str)> = events
        .iter()
        .map(|event| {
            assert_eq!(event["type"], "m.presence");
            let state = event["content"]["presence"].as_str().expect("a state");
            (event["sender"].as_str().expect("a user"), state)
        })
        .collect();
    told.sort_unstable();
    json!(told)
}

/// A room of Alice's with Bob in it, and the token after that.
async fn room_with_bob(server: &Server) -> (TestRoom, String) {
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let token = server.token(&alice()).await;
    (room, token)
}

/// Lets so many seconds pass.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn waiting_client_is_told_of_those_who_share_a_room() {
    let server = server().await;
    let (_room, mut token) = room_with_bob(&server).await;
    TestRoom::create(&server.db, &carol()).await;
    server.set_presence(&carol(), PresenceState::Online, "");
    server.set_presence(&bob(), PresenceState::Online, "at work");
    let told = server.wait_for_presence(&alice(), &mut token).await;
    assert_eq!(told, json!([[bob(), "online"]]));
    server.set_presence(&bob(), PresenceState::Unavailable, "");
    let told = server.wait_for_presence(&alice(), &mut token).await;
    assert_eq!(told, json!([[bob(), "unavailable"]]));
    // Nothing is repeated.
    let answer = server.sync(&alice(), Some(&token)).await;
    assert_eq!(presence(&answer), Value::Null);
}

#[tokio::test]
async fn event_tells_the_status_and_the_time_of_the_last_activity() {
    let server = server().await;
    let (_room, mut token) = room_with_bob(&server).await;
    server.set_presence(&bob(), PresenceState::Online, "at work");
    server.wait_for_presence(&alice(), &mut token).await;
    let answer = server.sync(&alice(), None).await;
    let mut content = answer["presence"]["events"][0]["content"].clone();
    assert!(content["last_active_ago"].take().is_u64(), "{answer}");
    let expected = json!({
        "presence": "online", "currently_active": true, "status_msg": "at work", "last_active_ago": null,
    });
    assert_eq!(content, expected);
}

#[tokio::test]
async fn first_sync_tells_of_all_who_are_not_offline() {
    let server = server().await;
    let (room, mut token) = room_with_bob(&server).await;
    room.member(&server.db, &carol(), &carol(), "join").await;
    server.token(&carol()).await;
    server.set_presence(&bob(), PresenceState::Unavailable, "");
    server.set_presence(&carol(), PresenceState::Offline, "on holiday");
    server.set_presence(&alice(), PresenceState::Online, "");
    server.wait_for_presence(&alice(), &mut token).await;
    let answer = server.sync(&alice(), None).await;
    assert_eq!(
        presence(&answer),
        json!([[alice(), "online"], [bob(), "unavailable"]])
    );
}

#[tokio::test]
async fn syncing_device_is_shown_as_it_asks() {
    let server = server().await;
    let (_room, mut token) = room_with_bob(&server).await;
    let mut syncs = request(&bob(), None);
    for (state, name) in [
        (PresenceState::Unavailable, "unavailable"),
        (PresenceState::Online, "online"),
    ] {
        syncs.set_presence = state;
        server.ask(&syncs).await;
        let told = server.wait_for_presence(&alice(), &mut token).await;
        assert_eq!(told, json!([[bob(), name]]));
    }
    // One that hides leaves what others show.
    syncs.set_presence = PresenceState::Offline;
    server.ask(&syncs).await;
    assert_eq!(server.live.presence(&bob()).state, PresenceState::Online);
    // Half a minute later, and after five minutes.
    pass(31).await;
    let told = server.wait_for_presence(&alice(), &mut token).await;
    assert_eq!(told, json!([[bob(), "offline"]]));
}

#[tokio::test]
async fn waiting_user_without_activity_is_shown_as_idle() {
    let server = server().await;
    let (_room, mut token) = room_with_bob(&server).await;
    let since = server.token(&bob()).await;
    let mut syncs = request(&bob(), Some(&since));
    (syncs.set_presence, syncs.timeout) = (PresenceState::Online, LONG);
    // Own changes do not end the wait.
    let waits = server.ask(&syncs);
    let (told, mut token) = tokio::select! {
        answer = waits => panic!("{answer}"),
        told = async {
            let online = server.wait_for_presence(&alice(), &mut token).await;
            pass(301).await;
            let idle = server.wait_for_presence(&alice(), &mut token).await;
            ((online, idle), token)
        } => told,
    };
    assert_eq!(
        told,
        (json!([[bob(), "online"]]), json!([[bob(), "unavailable"]]))
    );
    // The request was given up: the device goes.
    pass(31).await;
    let told = server.wait_for_presence(&alice(), &mut token).await;
    assert_eq!(told, json!([[bob(), "offline"]]));
}

#[tokio::test]
async fn who_joins_a_room_and_its_members_are_told_of_each_other() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let (mut at_alice, mut at_bob) = (server.token(&alice()).await, server.token(&bob()).await);
    server.set_presence(&alice(), PresenceState::Online, "");
    server.set_presence(&bob(), PresenceState::Unavailable, "");
    room.member(&server.db, &bob(), &bob(), "join").await;
    // Their own presence may come along.
    let tells = |told: &Value, of: Value| told.as_array().is_some_and(|told| told.contains(&of));
    let told = server.wait_for_presence(&alice(), &mut at_alice).await;
    assert!(tells(&told, json!([bob(), "unavailable"])), "{told}");
    let told = server.wait_for_presence(&bob(), &mut at_bob).await;
    assert!(tells(&told, json!([alice(), "online"])), "{told}");
}

#[tokio::test]
async fn those_who_left_are_told_nothing_more() {
    let server = server().await;
    let (room, token) = room_with_bob(&server).await;
    room.member(&server.db, &bob(), &bob(), "leave").await;
    server.set_presence(&bob(), PresenceState::Online, "");
    let answer = server.sync(&alice(), Some(&token)).await;
    assert_eq!(presence(&answer), Value::Null);
    assert_eq!(presence(&server.sync(&alice(), None).await), Value::Null);
}

#[tokio::test]
async fn filter_selects_whose_presence_ends_the_wait() {
    let server = server().await;
    let (room, token) = room_with_bob(&server).await;
    server.set_presence(&bob(), PresenceState::Online, "");
    let alice = alice();
    for definition in [
        json!({ "presence": { "types": [] } }),
        json!({ "presence": { "not_types": ["m.*"] } }),
        json!({ "presence": { "not_senders": [bob()] } }),
    ] {
        let mut waits = request(&alice, Some(&token));
        waits.timeout = LONG;
        waits.filter = filter(definition);
        let sends = room.message(&server.db, &alice, "now");
        let (answer, _) = tokio::join!(server.ask(&waits), sends);
        let section = &answer["rooms"]["join"][room.room_id.as_str()];
        assert!(!bodies(&section["timeline"]["events"]).is_empty());
        assert_eq!(presence(&answer), Value::Null);
    }
}

#[tokio::test]
async fn users_of_other_servers_are_shown_if_they_share_a_room() {
    let server = server().await;
    let dora = owned_user_id!("@dora:remote.localhost");
    let stranger = owned_user_id!("@stranger:remote.localhost");
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &dora, &dora, "join").await;
    let mut token = server.token(&alice()).await;
    let said = |user_id: &OwnedUserId| {
        let presence = RemotePresence {
            state: PresenceState::Online,
            last_active_ago: Duration::from_secs(5),
            currently_active: false,
            status_msg: None,
        };
        (user_id.clone(), presence)
    };
    let received = server
        .live
        .receive_presence(vec![said(&stranger), said(&dora)]);
    received.await.expect("the database");
    let told = server.wait_for_presence(&alice(), &mut token).await;
    assert_eq!(told, json!([[dora, "online"]]));
    assert_eq!(
        server.live.presence(&stranger).state,
        PresenceState::Offline
    );
    pass(30 * 60 + 1).await;
    let told = server.wait_for_presence(&alice(), &mut token).await;
    assert_eq!(told, json!([[dora, "offline"]]));
}

#[tokio::test]
async fn presence_takes_no_statement_of_those_who_sync() {
    let server = server().await;
    let (_room, token) = room_with_bob(&server).await;
    let mut syncs = request(&bob(), Some(&server.token(&bob()).await));
    syncs.set_presence = PresenceState::Online;
    server.ask(&syncs).await;
    server.sync(&alice(), Some(&token)).await;
    let (_, queries) = queries_of(async {
        syncs.set_presence = PresenceState::Unavailable;
        server.ask(&syncs).await;
        server.sync(&alice(), Some(&token)).await
    })
    .await;
    assert!(queries.is_empty(), "{queries:?}");
}
