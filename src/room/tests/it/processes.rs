//! Several processes on one database write to the same room.

use std::collections::HashSet;

use serde_json::json;
use testkit::queries_of;
use tokio::task::JoinSet;

use crate::support::{Server, alice, bob, chain, message, sender, transaction, user};

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

/// Connects processes as servers are; it ends with what is returned.
fn connect(servers: &mut [&mut Server]) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for server in servers {
        let (tell, listen) = server.test.feed.connect_cluster();
        tasks.spawn(tell);
        tasks.spawn(listen);
    }
    tasks
}

/// Reads the stream in one process up to what another one has committed.
async fn catch_up(reader: &mut Server, writer: &mut Server) {
    let committed = writer.test.database.committed();
    for server in [writer, reader] {
        while server.test.feed.position() < committed {
            let batch = server.test.feed.next().await.expect("the database");
            batch.expect("a batch");
        }
    }
}

async fn follow(server: &mut Server) {
    while let Some(_stretch) = server.test.feed.next().await.expect("the database") {}
}

#[tokio::test]
async fn writes_of_other_processes_are_visible_after_the_feed_has_read_them() {
    let mut here = Server::start().await;
    let mut there = here.another().await;
    let _tasks = connect(&mut [&mut here, &mut there]);
    let room_id = here.room(&[&alice()]).await;
    let name = |name: &str| json!({ "name": name });
    for round in 0..3 {
        let there_says = format!("there {round}");
        there
            .set(&room_id, &alice(), "m.room.name", name(&there_says))
            .await
            .expect("set");
        catch_up(&mut here, &mut there).await;
        let read = here.content(&room_id, &alice(), "m.room.name", "").await;
        assert_eq!(read.expect("a name")["name"], there_says);

        let here_says = format!("here {round}");
        here.set(&room_id, &alice(), "m.room.name", name(&here_says))
            .await
            .expect("set");
        catch_up(&mut there, &mut here).await;
        let read = there.content(&room_id, &alice(), "m.room.name", "").await;
        assert_eq!(read.expect("a name")["name"], here_says);
    }
}

#[tokio::test]
async fn users_removed_by_another_process_cannot_read() {
    let mut here = Server::start().await;
    let mut there = here.another().await;
    let _tasks = connect(&mut [&mut here, &mut there]);
    let room_id = here.room(&[&alice(), &bob()]).await;
    here.joined_members(&room_id, &bob()).await.expect("in");
    there
        .leave(&room_id, &sender(&bob()), None)
        .await
        .expect("left");
    catch_up(&mut here, &mut there).await;
    here.joined_members(&room_id, &bob())
        .await
        .expect_err("bob has left");
    let members = here.joined_members(&room_id, &alice()).await;
    assert!(!members.expect("members").contains("bob"));
}

#[tokio::test]
async fn a_head_is_reloaded_once_for_writes_of_another_process_and_never_for_own_writes() {
    let mut here = Server::start().await;
    let mut there = here.another().await;
    let _tasks = connect(&mut [&mut here, &mut there]);
    let room_id = here.room(&[&alice(), &bob()]).await;
    there
        .send_text(&room_id, &bob(), "there")
        .await
        .expect("sent");
    // This one loses to the other process, and reads the room for that.
    here.send_text(&room_id, &alice(), "here")
        .await
        .expect("sent");
    catch_up(&mut here, &mut there).await;
    let alice = alice();
    let send = Box::pin(here.send_text(&room_id, &alice, "again"));
    let (sent, queries) = queries_of(send).await;
    sent.expect("sent");
    assert_eq!(queries, [""; 0]);
    // Other writes of this process lie among those that are read from the tables.
    catch_up(&mut there, &mut here).await;
    there
        .send_text(&room_id, &bob(), "elsewhere")
        .await
        .expect("sent");
    let other = here.room(&[&alice]).await;
    catch_up(&mut here, &mut there).await;
    for (room_id, is_stale) in [(&room_id, true), (&room_id, false), (&other, false)] {
        let (state, queries) = queries_of(here.visible_state(room_id, &alice)).await;
        state.expect("state");
        assert_eq!(!queries.is_empty(), is_stale, "{queries:?}");
    }
}

#[tokio::test]
async fn a_pending_write_survives_a_head_reload() {
    let mut here = Server::start().await;
    let mut there = here.another().await;
    let _tasks = connect(&mut [&mut here, &mut there]);
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
        tokio::select! {
            _sent = sends.join_all() => {}
            () = follow(&mut here) => panic!("the stream ended"),
        }
    }
    assert_eq!(chain(&here, &room_id).await.len(), 6 + 1 + 1 + 2 * 19);
}
