//! Several processes on one database write to the same room.

use std::collections::HashSet;

use tokio::task::JoinSet;

use crate::support::{Server, alice, bob, chain, message, phone, user};

const SENDERS: usize = 32;
const MESSAGES: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_write_one_chain_and_lose_nothing() {
    let here = Server::start().await;
    let there = here.another().await;
    let room_id = here.room(&[&alice()]).await;
    for sender in 0..SENDERS {
        here.enter(&room_id, &user(&sender.to_string()))
            .await
            .expect("joined");
    }
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let rooms = [&here, &there][sender % 2].rooms.clone();
        let room_id = room_id.clone();
        senders.spawn(async move {
            let mut sent = Vec::new();
            for number in 0..MESSAGES {
                let text = format!("{sender} {number}");
                let event_id = rooms
                    .send_once(
                        &user(&sender.to_string()),
                        phone(),
                        &room_id,
                        message(&text, &text),
                    )
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
async fn what_another_process_wrote_is_built_upon() {
    let here = Server::start().await;
    let there = here.another().await;
    let room_id = here.room(&[&alice(), &bob()]).await;
    for number in 0..4 {
        let server = [&here, &there][number % 2];
        server
            .say(&room_id, &bob(), &number.to_string())
            .await
            .expect("sent");
    }
    here.leave(&room_id, &bob(), None).await.expect("left");
    there
        .say(&room_id, &bob(), "still here?")
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
    here.say(&room_id, &alice(), "here").await.expect("sent");
    there.say(&room_id, &alice(), "there").await.expect("sent");
    let first = here.say(&room_id, &alice(), "hello").await.expect("sent");
    let again = there
        .say(&room_id, &alice(), "hello")
        .await
        .expect("sent before");
    assert_eq!(first, again);
    assert_eq!(
        here.heard(&room_id, &alice()).await,
        ["here", "there", "hello"]
    );
}
