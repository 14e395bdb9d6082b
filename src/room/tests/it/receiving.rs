//! Events of other servers enter a room.

use std::sync::Arc;

use event::Pdu;
use room::{AcceptedJoin, Error, MembershipChange, SentEvent};
use ruma::{OwnedRoomId, UserId};
use serde_json::json;
use storage::events::erase;
use testkit::{Dice, Queries};
use types::ErrorKind;

use crate::{
    remote::{Branch, Remote, texts},
    support::{Server, alice, backwards, error_kind, sender},
};

pub(crate) const NAME: (&str, Option<&str>) = ("m.room.name", Some(""));
const TOPIC: (&str, Option<&str>) = ("m.room.topic", Some(""));
const LEVELS: (&str, Option<&str>) = ("m.room.power_levels", Some(""));
pub(crate) const MESSAGE: (&str, Option<&str>) = ("m.room.message", None);

/// A public room of Alice that Bob and Carol of another server have joined; Bob is a moderator of
/// it.
pub(crate) async fn room(server: &Server, remote: &Remote) -> (OwnedRoomId, Branch) {
    remote.introduce(server).await;
    let room_id = server.room(&[&alice()]).await;
    let mut branch = Branch::of(server, &room_id).await;
    for user in ["bob", "carol"] {
        let user_id = Remote::user(user);
        let joined = remote.join(&mut branch, &user_id);
        let refused = server.receive_from(remote, &room_id, &[joined]).await;
        assert!(refused.is_empty());
    }
    let levels = json!({ "users": { (Remote::user("bob").as_str()): 100 } });
    let set = server
        .set(&room_id, &alice(), "m.room.power_levels", levels)
        .await;
    set.expect("the levels are set");
    let branch = Branch::of(server, &room_id).await;
    (room_id, branch)
}

pub(crate) fn set(
    remote: &Remote,
    branch: &mut Branch,
    place: (&str, Option<&str>),
    text: &str,
) -> Arc<Pdu> {
    let content = match place {
        MESSAGE => json!({ "body": text }),
        _ => json!({ "name": text, "topic": text }),
    };
    remote.event(branch, &Remote::user("bob"), place, &content)
}

fn member(remote: &Remote, branch: &mut Branch, target: &UserId, membership: &str) -> Arc<Pdu> {
    let place = ("m.room.member", Some(target.as_str()));
    let content = json!({ "membership": membership });
    remote.event(branch, &Remote::user("bob"), place, &content)
}

#[tokio::test]
async fn messages_and_state_of_another_server_follow_each_other() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (room_id, mut branch) = room(&server, &remote).await;
    let hello = set(&remote, &mut branch, MESSAGE, "hello");
    let name = set(&remote, &mut branch, NAME, "name");
    let bye = set(&remote, &mut branch, MESSAGE, "bye");
    // In one transaction, in the wrong order, and again.
    let events = [bye.clone(), name.clone(), hello.clone()];
    for _ in 0..2 {
        let refused = server.receive_from(&remote, &room_id, &events).await;
        assert!(refused.is_empty());
    }
    assert_eq!(
        server.readable_texts(&room_id, &alice()).await,
        ["hello", "bye"]
    );
    let named = server.state_id(&room_id, "m.room.name", "").await;
    assert_eq!(named.as_ref(), Some(name.event_id()));
    // What is said here follows what came.
    server
        .send_text(&room_id, &alice(), "answer")
        .await
        .expect("sent");
    let last = server.stored(&room_id).await.pop().expect("the answer");
    assert_eq!(last.pdu.prev_events(), [bye.event_id().clone()]);
    let restarted = server.another().await;
    assert_eq!(
        restarted.state_ids(&room_id).await,
        server.state_ids(&room_id).await
    );
}

#[tokio::test]
async fn an_event_that_the_rules_deny_is_rejected_and_never_shown() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (room_id, branch) = room(&server, &remote).await;
    let mut forbidden = branch.clone();
    let carol = Remote::user("carol");
    let denied = remote.event(&mut forbidden, &carol, NAME, &json!({ "name": "mine" }));
    let refused = server
        .receive_from(&remote, &room_id, std::slice::from_ref(&denied))
        .await;
    assert_eq!(refused, [denied.event_id().clone()]);
    assert!(!server.is_shown(&room_id, denied.event_id()).await);
    assert_eq!(server.state_id(&room_id, "m.room.name", "").await, None);
    // What follows it has the state before it, and is accepted.
    let mut after = Branch {
        tips: forbidden.tips,
        depth: forbidden.depth,
        ..branch
    };
    let message = set(&remote, &mut after, MESSAGE, "on");
    let refused = server.receive_from(&remote, &room_id, &[message]).await;
    assert!(refused.is_empty());
    assert_eq!(server.readable_texts(&room_id, &alice()).await, ["on"]);
    server
        .send_text(&room_id, &alice(), "answer")
        .await
        .expect("sent");
    let last = server.stored(&room_id).await.pop().expect("the answer");
    assert_eq!(last.pdu.prev_events(), after.tips);
}

#[tokio::test]
async fn an_event_that_only_the_current_state_denies_is_soft_failed() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (room_id, branch) = room(&server, &remote).await;
    let carol = Remote::user("carol");
    let mut old = branch.clone();
    let late = remote.event(&mut old, &carol, MESSAGE, &json!({ "body": "late" }));
    let mut new = branch;
    let ban = member(&remote, &mut new, &carol, "ban");
    for event in [ban.clone(), late.clone()] {
        let refused = server.receive_from(&remote, &room_id, &[event]).await;
        assert!(refused.is_empty());
    }
    assert!(!server.is_shown(&room_id, late.event_id()).await);
    server
        .send_text(&room_id, &alice(), "answer")
        .await
        .expect("sent");
    let last = server.stored(&room_id).await.pop().expect("the answer");
    assert_eq!(last.pdu.prev_events(), [ban.event_id().clone()]);
}

#[tokio::test]
async fn a_forged_event_is_dropped() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (room_id, mut branch) = room(&server, &remote).await;
    let forger = Remote {
        name: remote.name.clone(),
        ..Remote::new()
    };
    let forged = set(&forger, &mut branch, MESSAGE, "forged");
    let refused = server
        .receive_from(&remote, &room_id, std::slice::from_ref(&forged))
        .await;
    assert_eq!(refused, [forged.event_id().clone()]);
    assert!(server.readable_texts(&room_id, &alice()).await.is_empty());
}

#[tokio::test]
async fn a_server_that_the_room_does_not_allow_is_refused() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (room_id, mut branch) = room(&server, &remote).await;
    let acl = json!({ "allow": ["*"], "deny": [remote.name] });
    let denied = server
        .set(&room_id, &alice(), "m.room.server_acl", acl)
        .await;
    denied.expect("the list is set");
    let message = set(&remote, &mut branch, MESSAGE, "hello");
    let refused = server
        .receive_from(&remote, &room_id, std::slice::from_ref(&message))
        .await;
    assert_eq!(refused, [message.event_id().clone()]);
}

#[tokio::test]
async fn a_redaction_takes_effect_on_what_came_in_the_same_transaction() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (room_id, mut branch) = room(&server, &remote).await;
    let message = set(&remote, &mut branch, MESSAGE, "oops");
    let content = json!({ "redacts": message.event_id() });
    let place = ("m.room.redaction", None);
    let redaction = remote.event(&mut branch, &Remote::user("bob"), place, &content);
    let events = [message.clone(), redaction];
    let refused = server.receive_from(&remote, &room_id, &events).await;
    assert!(refused.is_empty());
    let left = server.read(&room_id, &alice(), message.event_id()).await;
    assert_eq!(left.expect("the event")["content"], json!({}));
}

/// A redaction of an event, on a branch without it.
fn redact(remote: &Remote, branch: &Branch, target: &Pdu) -> Arc<Pdu> {
    let content = json!({ "redacts": target.event_id() });
    let place = ("m.room.redaction", None);
    remote.event(&mut branch.clone(), &Remote::user("bob"), place, &content)
}

#[tokio::test]
async fn a_redaction_takes_effect_on_what_comes_after_it() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (room_id, branch) = room(&server, &remote).await;
    let message = set(&remote, &mut branch.clone(), MESSAGE, "oops");
    let topic = set(&remote, &mut branch.clone(), TOPIC, "oops");
    let redactions = [&message, &topic].map(|target| redact(&remote, &branch, target));
    let [of_message, of_topic] = redactions;
    for events in [
        vec![of_message.clone()],
        vec![message.clone()],
        vec![of_topic, topic.clone()],
    ] {
        let refused = server.receive_from(&remote, &room_id, &events).await;
        assert!(refused.is_empty());
    }
    for server in [&server, &server.another().await] {
        server.catch_up().await;
        let left = server.read(&room_id, &alice(), message.event_id()).await;
        let left = left.expect("the event");
        assert_eq!(left["content"], json!({}));
        assert_eq!(
            left["unsigned"]["redacted_because"]["event_id"],
            of_message.event_id().as_str()
        );
        let topic = server.content(&room_id, &alice(), "m.room.topic", "").await;
        assert_eq!(topic.expect("the topic"), json!({}));
    }
    let stored = server.stored(&room_id).await;
    let stored = stored
        .iter()
        .find(|event| event.pdu.event_id() == message.event_id());
    let mut db = server.test.database.acquire().await.expect("a connection");
    let original = erase::original(&mut db, stored.expect("the event").nid).await;
    let original = original.expect("the originals").expect("the original");
    assert!(original.contains("oops"));
}

#[tokio::test]
async fn an_event_is_redacted_here_before_it_comes() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (room_id, branch) = room(&server, &remote).await;
    let message = set(&remote, &mut branch.clone(), MESSAGE, "oops");
    let redacted = server
        .redact(&room_id, &sender(&alice()), message.event_id(), None)
        .await;
    redacted.expect("redacted");
    let refused = server
        .receive_from(&remote, &room_id, std::slice::from_ref(&message))
        .await;
    assert!(refused.is_empty());
    let left = server.read(&room_id, &alice(), message.event_id()).await;
    assert_eq!(left.expect("the event")["content"], json!({}));
}

/// Sends a join to have it taken into the room.
async fn send_join(
    server: &Server,
    remote: &Remote,
    join: &Arc<Pdu>,
) -> Result<AcceptedJoin, Error> {
    let text = texts([join]).remove(0);
    let sent = SentEvent {
        origin: &remote.name,
        room_id: join.room_id(),
        event_id: join.event_id(),
        pdu: &text,
    };
    server.accept_join(sent, false).await
}

#[tokio::test]
async fn the_state_before_a_join_that_follows_two_branches_is_what_they_resolve_to() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (room_id, branch) = room(&server, &remote).await;
    let (mut left, mut right) = (branch.clone(), branch.clone());
    let name = set(&remote, &mut left, NAME, "name");
    let topic = set(&remote, &mut right, TOPIC, "topic");
    let branches = [name.clone(), topic.clone()];
    let refused = server.receive_from(&remote, &room_id, &branches).await;
    assert!(refused.is_empty());
    let later = json!({ "url": "mxc://test.localhost/later" });
    let later = server.set(&room_id, &alice(), "m.room.avatar", later).await;
    let later = later.expect("set");

    let mut both = Branch {
        tips: branches.map(|pdu| pdu.event_id().clone()).to_vec(),
        ..left
    };
    let dora = Remote::user("dora");
    let join = remote.join(&mut both, &dora);
    for _ in 0..2 {
        let joined = send_join(&server, &remote, &join).await;
        let state = joined.expect("joined").state;
        let has = |id: &ruma::EventId| state.iter().any(|pdu| pdu.event_id() == id);
        assert!(has(name.event_id()) && has(topic.event_id()));
        assert!(!has(&later) && !has(join.event_id()));
    }
    let member = server
        .state_id(&room_id, "m.room.member", dora.as_str())
        .await;
    assert_eq!(member.as_ref(), Some(join.event_id()));
    let avatar = server.state_id(&room_id, "m.room.avatar", "").await;
    assert_eq!(avatar, Some(later));
}

#[tokio::test]
async fn many_branches_are_merged_by_an_event_that_no_client_sees() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (room_id, branch) = room(&server, &remote).await;
    let texts = (0..21).map(|number| number.to_string());
    let texts: Vec<String> = texts.collect();
    for text in &texts {
        let message = set(&remote, &mut branch.clone(), MESSAGE, text);
        let refused = server.receive_from(&remote, &room_id, &[message]).await;
        assert!(refused.is_empty());
    }
    let last = server.stored(&room_id).await.pop().expect("events");
    assert_eq!(last.pdu.event_type(), "org.matrix.dummy_event");
    assert_eq!(last.pdu.prev_events().len(), 20);
    assert_eq!(server.readable_texts(&room_id, &alice()).await, texts);
    let page = server.page(&room_id, &alice(), &backwards(1)).await;
    let page = page.expect("a page");
    assert_eq!(page["chunk"][0]["content"]["body"], "20");
    server
        .send_text(&room_id, &alice(), "answer")
        .await
        .expect("sent");
    let answer = server.stored(&room_id).await.pop().expect("the answer");
    assert_eq!(answer.pdu.prev_events().len(), 2);
}

#[tokio::test]
async fn equal_states_are_not_resolved_twice() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (room_id, branch) = room(&server, &remote).await;
    let (mut left, mut right) = (branch.clone(), branch.clone());
    let branches = [
        set(&remote, &mut left, NAME, "left"),
        set(&remote, &mut right, NAME, "right"),
    ];
    // The current state is what the two resolve to.
    let refused = server.receive_from(&remote, &room_id, &branches).await;
    assert!(refused.is_empty());
    let both = Branch {
        tips: branches.map(|pdu| pdu.event_id().clone()).to_vec(),
        ..left
    };
    let queries = Queries::listen();
    for text in ["one", "two"] {
        let message = set(&remote, &mut both.clone(), MESSAGE, text);
        let refused = server.receive_from(&remote, &room_id, &[message]).await;
        assert!(refused.is_empty());
    }
    let statements = queries.take();
    // The two states are read for each message, but not what authorises their events.
    let is_chain = |statement: &&String| statement.starts_with("WITH RECURSIVE chain");
    assert_eq!(statements.iter().filter(is_chain).count(), 2);
    assert_eq!(
        server.readable_texts(&room_id, &alice()).await,
        ["one", "two"]
    );
}

#[tokio::test]
async fn a_join_that_the_rules_deny_is_refused_and_not_kept() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (room_id, mut branch) = room(&server, &remote).await;
    let dora = Remote::user("dora");
    let banned = server
        .change(&room_id, &alice(), &dora, MembershipChange::Ban)
        .await;
    banned.expect("banned");
    let before = server.stored(&room_id).await.len();
    // Before the ban it would have been allowed.
    let early = remote.join(&mut branch, &dora);
    let mut branch = Branch::of(&server, &room_id).await;
    let late = remote.join(&mut branch, &dora);
    for join in [early, late] {
        let refused = send_join(&server, &remote, &join).await;
        assert_eq!(error_kind(refused), ErrorKind::Forbidden);
    }
    assert_eq!(server.stored(&room_id).await.len(), before);
}

/// What Bob does on a branch. All of it is allowed whatever the other branches do.
fn random_event(remote: &Remote, branch: &mut Branch, dice: &mut Dice) -> Arc<Pdu> {
    let carol = Remote::user("carol");
    let text = dice.roll(1000).to_string();
    match dice.roll(6) {
        0 => set(remote, branch, NAME, &text),
        1 => set(remote, branch, TOPIC, &text),
        2 => set(remote, branch, MESSAGE, &text),
        3 => {
            let levels = json!({ "users": { (Remote::user("bob").as_str()): 100, (carol.as_str()): dice.roll(50) } });
            remote.event(branch, &Remote::user("bob"), LEVELS, &levels)
        }
        4 => member(remote, branch, &carol, "ban"),
        _ => member(remote, branch, &carol, "leave"),
    }
}

/// Events on several branches; parents before children.
fn forks(remote: &Remote, start: &Branch, dice: &mut Dice) -> Vec<Arc<Pdu>> {
    let mut branches = vec![start.clone()];
    let mut events = Vec::new();
    for _ in 0..14 {
        let chosen = dice.roll(branches.len());
        let mut branch = branches[chosen].clone();
        events.push(random_event(remote, &mut branch, dice));
        if branches.len() < 4 && dice.roll(2) == 0 {
            branches.push(branch);
        } else {
            branches[chosen] = branch;
        }
    }
    events
}

/// The events in another order in which parents come before children.
fn shuffled(events: &[Arc<Pdu>], dice: &mut Dice) -> Vec<Arc<Pdu>> {
    let mut left = events.to_vec();
    let mut shuffled: Vec<Arc<Pdu>> = Vec::new();
    while !left.is_empty() {
        let waits = |pdu: &Arc<Pdu>| {
            left.iter()
                .any(|other| pdu.prev_events().contains(other.event_id()))
        };
        let ready: Vec<usize> = (0..left.len()).filter(|at| !waits(&left[*at])).collect();
        let next = ready[dice.roll(ready.len())];
        shuffled.push(left.remove(next));
    }
    shuffled
}

#[test]
fn any_order_of_arrival_leads_to_the_same_state() {
    for seed in 1..=4 {
        // With the runtime its connections go.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(compare_orders(seed));
    }
}

/// Sends the same events in several orders to the same room on several databases: what is made by the
/// same key at the same time is the same.
async fn compare_orders(seed: u64) {
    let (remote, mut dice) = (Remote::new(), Dice(seed));
    let first = Server::start().await;
    let (room_id, start) = room(&first, &remote).await;
    let events = forks(&remote, &start, &mut dice);
    let mut expected = None;
    for round in 0..3 {
        let server = first.twin().await;
        let (twin_id, _) = room(&server, &remote).await;
        assert_eq!(twin_id, room_id);
        let order = shuffled(&events, &mut dice);
        let most = 1 + dice.roll(5);
        for transaction in order.chunks(most) {
            let refused = server.receive_from(&remote, &room_id, transaction).await;
            assert!(refused.is_empty(), "seed {seed}, round {round}");
        }
        let state = server.state_ids(&room_id).await;
        let expected = expected.get_or_insert_with(|| state.clone());
        assert_eq!(*expected, state, "seed {seed}, round {round}");
        if round == 0 {
            let restarted = server.another().await;
            assert_eq!(restarted.state_ids(&room_id).await, state, "seed {seed}");
        }
    }
}
