//! What is uploaded comes back as it was, and nothing else stays.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use media::{Error, Interrupted, Upload};
use ruma::owned_server_name;
use types::{ErrorKind, Fault as _};

use crate::support::{MAX_BYTES, MAX_USER_BYTES, setting};

#[tokio::test]
async fn a_file_comes_back_as_it_was_uploaded() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let parts: Vec<_> = (0..=255_u8)
        .map(|byte| Ok(Bytes::from(vec![byte; 8000])))
        .collect();
    let expected: Vec<u8> = (0..=255_u8).flat_map(|byte| vec![byte; 8000]).collect();
    let upload = Upload {
        content_type: Some("image/png".to_owned()),
        filename: Some("Bild\u{7}\u{1f414}.png".to_owned()),
        body: stream::iter(parts).boxed(),
    };
    let uri = setting
        .media
        .upload(&alice, upload)
        .await
        .expect("uploaded");
    assert!(
        uri.media_id().expect("an id").len() >= 22,
        "128 random bits at least"
    );
    assert_eq!(setting.content(&uri).await.expect("content"), expected);
    let (server_name, media_id) = uri.parts().expect("a URI");
    let download = setting
        .media
        .download(server_name, media_id, Duration::ZERO)
        .await;
    let download = download.expect("a file");
    assert_eq!(download.content_type.as_deref(), Some("image/png"));
    assert_eq!(download.filename.as_deref(), Some("Bild\u{1f414}.png"));
}

#[tokio::test]
async fn the_same_content_is_stored_once_under_ids_of_its_own() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let first = setting.upload(&alice, b"content").await;
    let second = setting.upload(&alice, b"content").await;
    assert_ne!(first, second);
    assert_eq!(setting.files(), 1);
    for uri in [first, second] {
        assert_eq!(setting.content(&uri).await.expect("content"), b"content");
    }
}

#[tokio::test]
async fn content_of_any_size_comes_back() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let (chunk, part) = (256 * 1024, 1024 * 1024);
    for size in [
        1,
        chunk - 1,
        chunk,
        chunk + 1,
        part - 1,
        part,
        part + 1,
        2 * part,
        3 * part,
    ] {
        let content: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        let frames: Vec<_> = content
            .chunks(7001)
            .map(|frame| Ok(Bytes::copy_from_slice(frame)))
            .collect();
        let upload = Upload {
            content_type: None,
            filename: None,
            body: stream::iter(frames).boxed(),
        };
        let uri = setting.media.upload(&alice, upload).await;
        let uri = uri.expect("uploaded");
        assert!(
            setting.content(&uri).await.expect("content") == content,
            "{size}"
        );
    }
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let uri = setting.upload(&alice, b"").await;
    assert_eq!(setting.content(&uri).await.expect("content"), b"");
}

#[tokio::test]
async fn uploads_that_are_too_large_or_interrupted_leave_nothing() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let part = || Ok(Bytes::from(vec![0; 1024 * 1024]));
    let upload = |parts: Vec<Result<Bytes, Interrupted>>| {
        let body = stream::iter(parts).boxed();
        setting.media.upload(
            &alice,
            Upload {
                content_type: None,
                filename: None,
                body,
            },
        )
    };
    let most = (0..MAX_BYTES / (1024 * 1024)).map(|_| part()).collect();
    upload(most).await.expect("as large as allowed");
    assert_eq!(setting.files(), 1);
    let too_many = (0..4).map(|_| part()).collect();
    assert!(matches!(upload(too_many).await, Err(Error::TooLarge)));
    let interrupted = upload(vec![part(), part(), Err(Interrupted)]).await;
    assert!(matches!(interrupted, Err(Error::Interrupted(_))));
    // What is removed is removed in the background; the store's next answer comes after it.
    while setting.files() > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn foreign_server_names_and_invalid_media_ids_are_not_found() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let uri = setting.upload(&alice, b"content").await;
    let here = testkit::server_name();
    let elsewhere = owned_server_name!("elsewhere.example");
    let id = uri.media_id().expect("an id");
    for (server_name, media_id) in [
        (&here, "unknown"),
        (&elsewhere, "../content"),
        (&here, ""),
        (&here, "../content"),
        (&here, "a\0b"),
        (&here, "%2e%2e"),
    ] {
        let found = setting
            .media
            .download(server_name, media_id, Duration::ZERO)
            .await;
        assert!(
            matches!(found, Err(Error::NotFound)),
            "{server_name}/{media_id}"
        );
    }
    let found = setting.media.download(&elsewhere, id, Duration::ZERO).await;
    let refused = found.map(|_| ()).expect_err("federation is closed");
    assert_eq!(refused.kind(), ErrorKind::Forbidden);
}

#[tokio::test]
async fn last_access_is_recorded_when_a_file_is_served() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let uri = setting.upload(&alice, b"content").await;
    let (server_name, media_id) = uri.parts().expect("a URI");
    let last_access = async || {
        setting.media.write_last_access().await.expect("written");
        let mut db = setting.test.database.acquire().await.expect("a connection");
        let last_access = storage::media::last_access(&mut db, server_name, media_id);
        last_access.await.expect("an answer")
    };
    assert_eq!(last_access().await, None);
    setting.content(&uri).await.expect("content");
    assert_eq!(last_access().await, Some(1_000_000));
    setting.clock.advance(5);
    assert_eq!(last_access().await, Some(1_000_000));
    setting.content(&uri).await.expect("content");
    assert_eq!(last_access().await, Some(1_000_005));
}

#[tokio::test]
async fn quarantined_file_is_not_found() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let uri = setting.upload(&alice, b"content").await;
    let (server_name, media_id) = uri.parts().expect("a URI");
    for by in [Some(&*alice), None] {
        let mut db = setting.test.database.acquire().await.expect("a connection");
        let found = storage::media::quarantine(&mut db, server_name, media_id, by).await;
        assert!(found.expect("an answer"));
        let content = setting.content(&uri).await;
        if by.is_some() {
            assert!(matches!(content, Err(Error::NotFound)));
        } else {
            assert_eq!(content.expect("content"), b"content");
        }
    }
}

#[tokio::test]
async fn a_users_files_have_a_limit_together() {
    let setting = setting().await;
    let (alice, bob) = (setting.user("alice").await, setting.user("bob").await);
    let upload = async |user_id: &ruma::UserId, bytes: u64| {
        let parts = (0..bytes / 1024).map(|_| Ok(Bytes::from_static(&[0; 1024])));
        let upload = Upload {
            content_type: None,
            filename: None,
            body: stream::iter(parts.collect::<Vec<_>>()).boxed(),
        };
        setting.media.upload(user_id, upload).await
    };
    for _ in 0..MAX_USER_BYTES / MAX_BYTES {
        upload(&alice, MAX_BYTES).await.expect("uploaded");
    }
    let refused = upload(&alice, MAX_BYTES).await;
    assert!(matches!(refused, Err(Error::UserLimit(_))), "{refused:?}");
    let pending = setting.media.create(&alice).await.expect("created").uri;
    upload(&alice, MAX_USER_BYTES % MAX_BYTES)
        .await
        .expect("uploaded");
    let refused = setting.upload_to(&alice, &pending, b"content").await;
    assert!(matches!(refused, Err(Error::UserLimit(_))), "{refused:?}");
    upload(&bob, MAX_BYTES).await.expect("uploaded");
    assert_eq!(setting.files(), 2);
}
