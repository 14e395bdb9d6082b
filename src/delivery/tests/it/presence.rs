//! Presence for other servers.

use std::sync::Arc;

use live::{PresenceNotice, PresenceState};
use ruma::{OwnedUserId, device_id, owned_user_id};
use serde_json::{Value, json};
use testkit::room::TestRoom;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::support::{Answer, Process, Remote, alice, bob, idle, started};

impl Process {
    /// Sends the presence of its users to other servers.
    fn send_presence(&mut self) {
        let (sender, notices) = mpsc::channel(64);
        let live = self.db.live.clone();
        live.notify_presence(sender);
        let delivery = self.delivery.clone();
        self.spawn(async move {
            let notices = Arc::new(Mutex::new(notices));
            let stopping = CancellationToken::new();
            let Ok(()) = delivery.send_presence(&live, &notices, stopping).await;
        });
    }

    fn set_presence(&self, user_id: &OwnedUserId, state: PresenceState, status_msg: Option<&str>) {
        let status_msg = status_msg.map(str::to_owned);
        let live = &self.db.live;
        live.set_presence(user_id, device_id!("LAPTOP"), state, status_msg);
    }
}

/// The presence that the next EDU tells, without the times.
async fn next_presence(remote: &mut Remote) -> Vec<Value> {
    loop {
        let edus = remote.next().await.edus;
        let mut edus = edus
            .into_iter()
            .filter(|edu| edu["edu_type"] == "m.presence");
        if let Some(mut edu) = edus.next() {
            let push = edu["content"]["push"].as_array_mut();
            let mut push = std::mem::take(push.expect("a list"));
            for update in &mut push {
                assert!(update["last_active_ago"].take().is_u64(), "{update}");
            }
            return push;
        }
    }
}

fn told(user_id: &OwnedUserId, state: &str) -> Value {
    json!({
        "user_id": user_id, "presence": state, "last_active_ago": null,
        "currently_active": state == "online",
    })
}

#[tokio::test]
async fn presence_goes_to_servers_that_share_a_room() {
    let mut remote = Remote::start().await;
    let (mut process, _room) = started(&remote).await;
    process.send_presence();
    // Carol shares no room with the other server.
    let carol = owned_user_id!("@carol:test.localhost");
    TestRoom::create(&process.db, &carol).await;
    process.set_presence(&carol, PresenceState::Online, None);
    process.set_presence(&alice(), PresenceState::Online, Some("at work"));
    let mut expected = told(&alice(), "online");
    expected["status_msg"] = json!("at work");
    assert_eq!(next_presence(&mut remote).await, [expected]);
    process.set_presence(&alice(), PresenceState::Unavailable, None);
    assert_eq!(
        next_presence(&mut remote).await,
        [told(&alice(), "unavailable")]
    );
}

#[tokio::test]
async fn server_that_joins_a_room_is_told_who_is_online() {
    let mut remote = Remote::start().await;
    let mut process = Process::new(testkit::database().await, &remote);
    process.start();
    process.send_presence();
    let db = process.db.clone();
    let room = TestRoom::create(&db, &alice()).await;
    process.set_presence(&alice(), PresenceState::Online, None);
    room.member(&db, &bob(), &bob(), "join").await;
    assert_eq!(next_presence(&mut remote).await, [told(&alice(), "online")]);
}

#[tokio::test]
async fn servers_in_a_room_are_told_of_who_joins_it() {
    let mut remote = Remote::start().await;
    let (mut process, room) = started(&remote).await;
    process.send_presence();
    let carol = owned_user_id!("@carol:test.localhost");
    process.set_presence(&carol, PresenceState::Online, None);
    room.member(&process.db, &carol, &carol, "join").await;
    assert_eq!(next_presence(&mut remote).await, [told(&carol, "online")]);
}

/// Sends what is due for a change of Alice's presence to this state.
async fn send_change(process: &Process, state: PresenceState) {
    // The rooms of who is in memory are known at once.
    let subscription = process.db.live.subscribe(&alice()).await;
    let _in_memory = subscription.expect("the database");
    process.set_presence(&alice(), state, None);
    let (sender, notices) = mpsc::channel(1);
    let notice = PresenceNotice::Changed(alice());
    sender.send(notice).await.expect("a receiver");
    drop(sender);
    let (live, stopping) = (&process.db.live, CancellationToken::new());
    let notices = Mutex::new(notices);
    let sent = process.delivery.send_presence(live, &notices, stopping);
    let Ok(()) = sent.await;
}

#[tokio::test]
async fn presence_is_not_kept_for_servers_that_are_down() {
    let mut remote = Remote::start().await;
    remote.answer(Answer::Fail);
    let (process, room) = started(&remote).await;
    let db = process.db.clone();
    room.message(&db, &alice(), "first").await;
    remote.next().await;
    // It is tried again: that it fails is known by now.
    remote.next().await;
    send_change(&process, PresenceState::Online).await;
    remote.answer(Answer::Accept);
    room.message(&db, &alice(), "last").await;
    loop {
        let transaction = remote.next().await;
        assert!(transaction.edus.is_empty(), "{transaction:?}");
        if transaction.messages().contains(&"last".to_owned()) {
            break;
        }
    }
    idle(&db).await;
    send_change(&process, PresenceState::Unavailable).await;
    let expected = [told(&alice(), "unavailable")];
    assert_eq!(next_presence(&mut remote).await, expected);
}

#[tokio::test]
async fn presence_is_not_sent_where_it_is_not_exchanged() {
    let mut remote = Remote::start().await;
    let (process, _room) = started(&remote).await;
    let policy = process.federation.policy();
    policy.replace(&remote.settings_with("presence = false"));
    send_change(&process, PresenceState::Online).await;
    policy.replace(&remote.settings_with(""));
    send_change(&process, PresenceState::Unavailable).await;
    let expected = [told(&alice(), "unavailable")];
    assert_eq!(next_presence(&mut remote).await, expected);
}
