//! How far a member has read.

use room::{Error, NewMessage, ReadUpTo, ReceiptKind};
use ruma::OwnedEventId;
use serde_json::json;
use storage::Change;
use testkit::Queries;
use types::{ErrorKind, StreamPosition};

use crate::support::{NOW, Server, alice, bob, error_kind, message, raw, sender, transaction};

#[tokio::test]
async fn each_receipt_is_one_change_in_the_stream() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let message_id = server
        .send_text(&room_id, &alice(), "hello")
        .await
        .expect("sent");
    let before = server.position().await;
    let mark = |kind| ReadUpTo {
        event_id: &message_id,
        kind,
    };
    let marks = [
        mark(ReceiptKind::Public { thread_id: None }),
        mark(ReceiptKind::Private {
            thread_id: Some("main".to_owned()),
        }),
        mark(ReceiptKind::FullyRead),
    ];
    server
        .set_receipts(&room_id, &sender(&alice()), &marks)
        .await
        .expect("noted");
    let mut db = server.test.database.acquire().await.expect("a connection");
    let changes =
        storage::stream::read(&mut db, StreamPosition(before), StreamPosition(before + 3))
            .await
            .expect("changes");
    let [
        (_, Change::Receipt(read)),
        (_, Change::Receipt(private)),
        (_, Change::AccountData(fully)),
    ] = &changes[..]
    else {
        panic!("three changes: {changes:?}");
    };
    assert_eq!((&*read.receipt_type, &*read.thread_id), ("m.read", ""));
    assert_eq!(
        (&*private.receipt_type, &*private.thread_id),
        ("m.read.private", "main")
    );
    assert_eq!((read.event_id == message_id, read.ts), (true, NOW as i64));
    assert_eq!(fully.event_type, "m.fully_read");
    assert_eq!(fully.content, format!(r#"{{"event_id":"{message_id}"}}"#));
}

#[tokio::test]
async fn only_members_set_receipts() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let message_id = server
        .send_text(&room_id, &alice(), "hello")
        .await
        .expect("sent");
    let marks = [ReadUpTo {
        event_id: &message_id,
        kind: ReceiptKind::Public { thread_id: None },
    }];
    let stranger = server.set_receipts(&room_id, &sender(&bob()), &marks).await;
    assert!(matches!(stranger, Err(Error::NotInRoom)));
}

#[tokio::test]
async fn receipts_need_an_event_of_the_room() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let other = server.room(&[&alice()]).await;
    let message_id = server
        .send_text(&other, &alice(), "hello")
        .await
        .expect("sent");
    for kind in [
        ReceiptKind::Public { thread_id: None },
        ReceiptKind::FullyRead,
    ] {
        let event_id = &message_id;
        let marks = [ReadUpTo { event_id, kind }];
        let elsewhere = server
            .set_receipts(&room_id, &sender(&alice()), &marks)
            .await;
        assert!(matches!(elsewhere, Err(Error::UnknownEvent)));
    }
}

#[tokio::test]
async fn receipts_only_move_forward() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let old = server
        .send_text(&room_id, &alice(), "old")
        .await
        .expect("sent");
    let new = server
        .send_text(&room_id, &alice(), "new")
        .await
        .expect("sent");
    let mark = async |event_id: &OwnedEventId, thread_id: Option<&str>| {
        let before = server.position().await;
        let thread_id = thread_id.map(ToOwned::to_owned);
        let kind = ReceiptKind::Public { thread_id };
        let marks = [ReadUpTo { event_id, kind }];
        server
            .set_receipts(&room_id, &sender(&alice()), &marks)
            .await
            .expect("noted");
        server.position().await - before
    };
    assert_eq!(mark(&new, None).await, 1);
    assert_eq!(mark(&new, None).await, 0);
    assert_eq!(mark(&old, None).await, 0);
    assert_eq!(mark(&old, Some("main")).await, 1);
}

#[tokio::test]
async fn malformed_event_ids_are_refused() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let message_id = server
        .send_text(&room_id, &alice(), "hello")
        .await
        .expect("sent");
    let odd = OwnedEventId::try_from("$a\0b").expect("an event id");
    let queries = Queries::listen();
    let threaded = ReceiptKind::Public {
        thread_id: Some(odd.to_string()),
    };
    for (event_id, kind) in [
        (&message_id, threaded),
        (&odd, ReceiptKind::Public { thread_id: None }),
        (&odd, ReceiptKind::FullyRead),
    ] {
        let marks = [ReadUpTo { event_id, kind }];
        let refused = server
            .set_receipts(&room_id, &sender(&alice()), &marks)
            .await;
        assert_eq!(error_kind(refused), ErrorKind::InvalidParam);
    }
    let statements = queries.take();
    assert!(
        !statements.iter().any(|statement| statement == "COMMIT"),
        "{statements:?}"
    );
}

#[tokio::test]
async fn a_receipt_of_a_thread_is_for_an_event_of_it() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let related = async |rel_type: &str, target: &OwnedEventId, text: &str| {
        let relation = json!({ "rel_type": rel_type, "event_id": target });
        let message = NewMessage {
            content: raw(&json!({ "body": text, "m.relates_to": relation })),
            ..message(text)
        };
        let sender = transaction(&alice(), text);
        let sent = server.send(&room_id, &sender, message).await;
        sent.expect("sent")
    };
    let root = server
        .send_text(&room_id, &alice(), "root")
        .await
        .expect("sent");
    let other = server
        .send_text(&room_id, &alice(), "other")
        .await
        .expect("sent");
    let on_root = related("m.annotation", &root, "on the root").await;
    let reply = related("m.thread", &root, "in the thread").await;
    let edit = related("m.replace", &reply, "one hop").await;
    let on_edit = related("m.annotation", &edit, "two hops").await;
    let marked = async |event_id: &OwnedEventId, thread_id: &str| {
        let thread_id = Some(thread_id.to_owned());
        for kind in [
            ReceiptKind::Public {
                thread_id: thread_id.clone(),
            },
            ReceiptKind::Private { thread_id },
        ] {
            let marks = [ReadUpTo { event_id, kind }];
            server
                .set_receipts(&room_id, &sender(&alice()), &marks)
                .await?;
        }
        Ok::<_, Error>(())
    };
    for event_id in [&root, &on_root, &reply, &edit, &on_edit] {
        marked(event_id, root.as_str()).await.expect("in it");
    }
    for event_id in [&root, &other, &on_root] {
        marked(event_id, "main").await.expect("in no thread");
    }
    for (event_id, thread_id) in [
        (&other, root.as_str()),
        (&reply, other.as_str()),
        (&reply, "main"),
        (&on_edit, "main"),
        (&other, "$unknown"),
        (&other, "org.example.thread"),
    ] {
        let refused = marked(event_id, thread_id).await;
        assert_eq!(error_kind(refused), ErrorKind::InvalidParam, "{thread_id}");
    }
}
