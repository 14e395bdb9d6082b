//! Ids that are given out before their content comes.

use std::time::Duration;

use media::Error;

use crate::support::setting;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Longer than any test takes.
const LONG: Duration = Duration::from_hours(1);

#[tokio::test]
async fn content_comes_later_and_only_once() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let created = setting.media.create(&alice).await.expect("created");
    assert_eq!(created.expires_ts, setting.clock.now_ms() + DAY_MS);
    assert!(matches!(
        setting.content(&created.uri).await,
        Err(Error::NotYetUploaded)
    ));
    setting
        .upload_to(&alice, &created.uri, b"content")
        .await
        .expect("uploaded");
    assert_eq!(
        setting.content(&created.uri).await.expect("content"),
        b"content"
    );
    let again = setting.upload_to(&alice, &created.uri, b"other").await;
    assert!(matches!(again, Err(Error::AlreadyUploaded)));
    assert_eq!(
        setting.content(&created.uri).await.expect("content"),
        b"content"
    );
}

#[tokio::test]
async fn a_download_waits_for_the_content() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let created = setting.media.create(&alice).await.expect("created");
    let (content, uploaded) = tokio::join!(
        setting.content_within(&created.uri, LONG),
        setting.upload_to(&alice, &created.uri, b"content"),
    );
    uploaded.expect("uploaded");
    assert_eq!(content.expect("content"), b"content");
}

#[tokio::test]
async fn an_id_is_its_users_alone() {
    let setting = setting().await;
    let (alice, bob) = (setting.user("alice").await, setting.user("bob").await);
    let created = setting.media.create(&alice).await.expect("created");
    let refused = setting.upload_to(&bob, &created.uri, b"content").await;
    assert!(matches!(refused, Err(Error::WrongOwner)));
    assert_eq!(setting.files(), 0);
}

#[tokio::test]
async fn an_id_expires_without_content_and_stays_with_it() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let unused = setting.media.create(&alice).await.expect("created").uri;
    let used = setting.media.create(&alice).await.expect("created").uri;
    setting
        .upload_to(&alice, &used, b"content")
        .await
        .expect("uploaded");
    setting.clock.advance(DAY_MS);
    assert!(matches!(
        setting.content(&unused).await,
        Err(Error::NotFound)
    ));
    let late = setting.upload_to(&alice, &unused, b"content").await;
    assert!(matches!(late, Err(Error::NotFound)));
    assert!(setting.content(&used).await.is_ok());
}

#[tokio::test]
async fn a_user_has_a_limited_number_of_ids_without_content() {
    let setting = setting().await;
    let (alice, bob) = (setting.user("alice").await, setting.user("bob").await);
    for _ in 0..100 {
        setting.media.create(&alice).await.expect("created");
    }
    assert!(matches!(
        setting.media.create(&alice).await,
        Err(Error::TooManyPending)
    ));
    setting.media.create(&bob).await.expect("created");
    setting.clock.advance(DAY_MS);
    setting.media.create(&alice).await.expect("created");
}
