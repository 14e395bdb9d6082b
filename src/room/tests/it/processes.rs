//! Several processes on one database write to the same room.

use std::collections::HashSet;

use room::MembershipChange;
use ruma::RoomId;
use serde_json::json;
use testkit::queries_of;
use tokio::task::JoinSet;

use crate::{
    receiving::{self, MESSAGE},
    remote::Remote,
    support::{Server, alice, bob, chain, message, sender, transaction, user},
};

const SENDERS: usize = 32;
const MESSAGES: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_write_one_chain_and_lose_nothing() {
    let here = Server::start().await;
    let there = here.another().await;
    let room_id = here.room(&[&alice()]).await;
    for sender in 0..SENDERS {
        here.join_room(&room_id, &user(&sender.to_string()))
            .await
            .expect("joined");
    }
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let rooms = [&here, &there][sender % 2].rooms.clone();
        let room_id = room_id.clone();
        senders.spawn(async move {
            let user_id = user(&sender.to_string());
            let mut sent = Vec::new();
            for number in 0..MESSAGES {
                let text = format!("{sender} {number}");
                let event_id = rooms
                    .send(&room_id, &transaction(&user_id, &text), message(&text))
                    .await
                    .expect("sent");
                sent.push(event_id);
            }
            sent
        });
    }
    let acknowledged: HashSet<_> = senders.join_all().await.into_iter().flatten().collect();
    assert_eq!(acknowledged.len(), SENDERS * MESSAGES);
    let chain = chain(&here, &room_id).await;
    assert_eq!(chain.len(), 6 + SENDERS + SENDERS * MESSAGES);
    assert!(acknowledged.is_subset(&chain.into_iter().collect()));
}

#[tokio::test]
async fn writes_build_on_those_of_other_processes() {
    let here = Server::start().await;
    let there = here.another().await;
    let room_id = here.room(&[&alice(), &bob()]).await;
    for number in 0..4 {
        let server = [&here, &there][number % 2];
        server
            .send_text(&room_id, &bob(), &number.to_string())
            .await
            .expect("sent");
    }
    here.leave(&room_id, &sender(&bob()), None)
        .await
        .expect("left");
    there
        .send_text(&room_id, &bob(), "still here?")
        .await
        .expect_err("the other process knows after all");
    assert_eq!(chain(&here, &room_id).await.len(), 6 + 1 + 4 + 1);
}

#[tokio::test]
async fn a_transaction_repeated_at_another_process_is_the_same_event() {
    let here = Server::start().await;
    let there = here.another().await;
    let room_id = here.room(&[&alice()]).await;
    // Both processes know the device before the transaction.
    here.send_text(&room_id, &alice(), "here")
        .await
        .expect("sent");
    there
        .send_text(&room_id, &alice(), "there")
        .await
        .expect("sent");
    let first = here
        .send_text(&room_id, &alice(), "hello")
        .await
        .expect("sent");
    let again = there
        .send_text(&room_id, &alice(), "hello")
        .await
        .expect("sent before");
    assert_eq!(first, again);
    assert_eq!(
        here.readable_texts(&room_id, &alice()).await,
        ["here", "there", "hello"]
    );
}

#[tokio::test]
async fn writes_of_other_processes_are_visible_after_the_feed_has_read_them() {
    let here = Server::start().await;
    let there = here.another().await;
    let room_id = here.room(&[&alice()]).await;
    let name = |name: &str| json!({ "name": name });
    for round in 0..3 {
        let there_says = format!("there {round}");
        there
            .set(&room_id, &alice(), "m.room.name", name(&there_says))
            .await
            .expect("set");
        here.catch_up().await;
        let read = here.content(&room_id, &alice(), "m.room.name", "").await;
        assert_eq!(read.expect("a name")["name"], there_says);

        let here_says = format!("here {round}");
        here.set(&room_id, &alice(), "m.room.name", name(&here_says))
            .await
            .expect("set");
        there.catch_up().await;
        let read = there.content(&room_id, &alice(), "m.room.name", "").await;
        assert_eq!(read.expect("a name")["name"], here_says);
    }
}

#[tokio::test]
async fn users_removed_by_another_process_cannot_read() {
    let here = Server::start().await;
    let there = here.another().await;
    let room_id = here.room(&[&alice(), &bob()]).await;
    here.joined_members(&room_id, &bob()).await.expect("in");
    there
        .leave(&room_id, &sender(&bob()), None)
        .await
        .expect("left");
    here.catch_up().await;
    here.joined_members(&room_id, &bob())
        .await
        .expect_err("bob has left");
    let members = here.joined_members(&room_id, &alice()).await;
    assert!(!members.expect("members").contains("bob"));
}

#[tokio::test]
async fn what_another_process_wrote_costs_no_reload() {
    let here = Server::start().await;
    let there = here.another().await;
    let room_id = here.room(&[&alice(), &bob()]).await;
    here.send_text(&room_id, &alice(), "here")
        .await
        .expect("sent");
    // The number of the state key is in memory from then on.
    let topic = json!({ "topic": "here" });
    (here.set(&room_id, &alice(), "m.room.topic", topic).await).expect("set");
    there.catch_up().await;
    there
        .send_text(&room_id, &bob(), "there")
        .await
        .expect("sent");
    let name = json!({ "name": "there" });
    (there.set(&room_id, &alice(), "m.room.name", name).await).expect("set");
    there
        .join_room(&room_id, &user("carol"))
        .await
        .expect("joined");
    here.catch_up().await;
    let alice = alice();
    for round in 0..2 {
        // The members that are new are in memory: they came with the feed.
        let (state, queries) = queries_of(here.visible_state(&room_id, &alice)).await;
        assert_eq!(state.expect("state").of_type("m.room.member").count(), 3);
        assert_eq!(queries, [""; 0]);
        let text = format!("again {round}");
        let send = Box::pin(here.send_text(&room_id, &alice, &text));
        let (sent, queries) = queries_of(send).await;
        sent.expect("sent");
        assert_eq!(queries, [""; 0]);
        let content = json!({ "topic": text });
        let set = Box::pin(here.set(&room_id, &alice, "m.room.topic", content));
        let (set, queries) = queries_of(set).await;
        set.expect("set");
        // After a change of state by another process the layers are read, once.
        assert!(queries.len() <= 1 - round, "{queries:?}");
    }
    assert_eq!(chain(&here, &room_id).await.len(), 6 + 1 + 2 + 3 + 4);
}

#[tokio::test]
async fn the_head_after_many_writes_is_the_one_that_would_be_loaded() {
    let here = Server::start().await;
    let there = here.another().await;
    let room_id = here.room(&[&alice(), &bob()]).await;
    let alice = alice();
    for number in 0..30 {
        let server = [&here, &there][number / 3 % 2];
        let text = number.to_string();
        match number % 5 {
            0 => {
                let name = json!({ "name": text });
                (server.set(&room_id, &alice, "m.room.name", name).await).expect("set");
            }
            1 => server
                .join_room(&room_id, &user(&text))
                .await
                .expect("joined"),
            2 => {
                let content = json!({ "text": text });
                let key = ["a", "b"][number % 2];
                let set = server.set_keyed(&room_id, &alice, "org.test", key, content);
                set.await.expect("set");
            }
            3 if number > 5 => {
                // What may be done to a user who is not known to be in the room is not tried.
                server.catch_up().await;
                let change = MembershipChange::Kick;
                let target = user(&(number - 2).to_string());
                let kicked = server.change(&room_id, &alice, &target, change);
                kicked.await.expect("kicked");
            }
            _ => {
                server
                    .send_text(&room_id, &bob(), &text)
                    .await
                    .expect("sent");
            }
        }
    }
    let loaded = here.another().await;
    let expected = describe(&loaded, &room_id).await;
    for server in [&here, &there] {
        server.catch_up().await;
        assert_eq!(describe(server, &room_id).await, expected);
    }
}

/// All that a process has in memory of a room, as text that can be compared.
async fn describe(server: &Server, room_id: &RoomId) -> Vec<String> {
    let state = server.live.room_state(room_id).await.expect("the database");
    let state = state.expect("the room");
    let whole = server.live.whole_state(&state).await.expect("its events");
    let mut lines = vec![format!("{:?} {:?}", state.head(), state.extremities())];
    let members = state.members().iter();
    lines.extend(members.map(|(user_id, member)| format!("{user_id} {member:?}")));
    lines.extend(whole.iter().map(|pdu| {
        let state_key = pdu.state_key().expect("a state key");
        let nid = state.event_nid(pdu.event_type(), state_key);
        format!("{nid:?} {} {}", pdu.event_id(), pdu.json())
    }));
    lines
}

#[tokio::test]
async fn a_pending_write_survives_writes_of_another_process() {
    let here = Server::start().await;
    let there = here.another().await;
    let room_id = here.room(&[&alice(), &bob()]).await;
    there.send_text(&room_id, &bob(), "0").await.expect("sent");
    for round in 1..20 {
        let text = format!("here {round}");
        let mut sends = JoinSet::new();
        for (rooms, sender) in [(&here.rooms, alice()), (&there.rooms, bob())] {
            let (rooms, room_id, text) = (rooms.clone(), room_id.clone(), text.clone());
            sends.spawn(async move {
                let sender = transaction(&sender, &text);
                let sent = rooms.send(&room_id, &sender, message(&text)).await;
                sent.expect("sent");
            });
        }
        // The stream is read while the writes are under way.
        tokio::join!(sends.join_all(), here.catch_up());
    }
    assert_eq!(chain(&here, &room_id).await.len(), 6 + 1 + 1 + 2 * 19);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_of_other_servers_enter_a_room_in_which_processes_take_turns() {
    let (here, remote) = (Server::start().await, Remote::new());
    let there = here.another().await;
    let (room_id, mut branch) = receiving::room(&here, &remote).await;
    let mut senders = JoinSet::new();
    for number in 0..8 {
        let (rooms, room_id) = ([&here, &there][number % 2].rooms.clone(), room_id.clone());
        senders.spawn(async move {
            let mut sent = Vec::new();
            for message_number in 0..8 {
                let text = format!("{number} {message_number}");
                let sender = transaction(&alice(), &text);
                let event_id = rooms.send(&room_id, &sender, message(&text)).await;
                sent.push(event_id.expect("sent"));
            }
            sent
        });
    }
    let mut expected = Vec::new();
    for number in 0..16 {
        let text = number.to_string();
        let event = receiving::set(&remote, &mut branch, MESSAGE, &text);
        expected.push(event.event_id().clone());
        let server = [&here, &there][number % 2];
        let refused = server.receive_from(&remote, &room_id, &[event]).await;
        assert!(refused.is_empty());
    }
    expected.extend(senders.join_all().await.into_iter().flatten());
    let stored = here.stored(&room_id).await.into_iter();
    let stored: HashSet<_> = stored.map(|event| event.pdu.event_id().clone()).collect();
    assert!(stored.is_superset(&expected.into_iter().collect()));
    for server in [&here, &there] {
        server.catch_up().await;
    }
    assert_eq!(
        here.readable_texts(&room_id, &alice()).await,
        there.readable_texts(&room_id, &alice()).await
    );
}

#[tokio::test]
async fn a_process_that_does_not_end_its_turn_is_not_waited_for_for_ever() {
    let here = Server::start().await;
    let there = here.another().await;
    let room_id = here.room(&[&alice(), &bob()]).await;
    // A third process has its turn, and hangs.
    let mut turn = here.test.database.begin_turn().await.expect("begun");
    let taken = storage::room_locks::take_turn(&mut turn, &room_id).await;
    taken.expect("its turn");
    for round in 0..2 {
        let text = round.to_string();
        let (alice, bob) = (alice(), bob());
        let (first, second) = tokio::join!(
            here.send_text(&room_id, &alice, &text),
            there.send_text(&room_id, &bob, &text),
        );
        first.expect("sent");
        second.expect("sent");
    }
    assert_eq!(chain(&here, &room_id).await.len(), 6 + 1 + 4);
}
