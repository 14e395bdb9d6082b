//! Files: upload, download, and the headers for browsers.

use axum::extract::Request;
use http::{Method, header, request::Builder};
use serde_json::{Value, json};

use crate::app::{Client, TestApp, TestUser};

const DOWNLOAD: &str = "/_matrix/client/v1/media/download";
const OLD: &str = "/_matrix/media/v3";

fn request(method: Method, path: &str) -> Builder {
    Request::builder().method(method).uri(path)
}

/// Uploads a file and gives `server/id`.
async fn upload(user: &TestUser, query: &str, content_type: &str, content: &'static str) -> String {
    let path = format!("/_matrix/media/v3/upload?{query}");
    let request = request(Method::POST, &path).header(header::CONTENT_TYPE, content_type);
    let (head, body) = user.exchange(request, content).await;
    assert_eq!(head.status, 200);
    name(&serde_json::from_slice(&body).unwrap())
}

fn name(answer: &Value) -> String {
    let uri = answer["content_uri"].as_str().unwrap();
    uri.strip_prefix("mxc://").unwrap().to_owned()
}

/// The body of a file, which must be there, and one of its headers.
async fn download(client: &Client, path: &str, header: header::HeaderName) -> (String, String) {
    let (head, body) = client.exchange(request(Method::GET, path), "").await;
    assert_eq!(head.status, 200, "{path}");
    let header = head.headers[header].to_str().unwrap().to_owned();
    (String::from_utf8(body.to_vec()).unwrap(), header)
}

#[tokio::test]
async fn any_authenticated_user_can_download() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let file = upload(&alice, "filename=a%20b.txt", "text/plain", "content").await;
    let path = format!("{DOWNLOAD}/{file}");
    for (header, expected) in [
        (header::CONTENT_TYPE, "text/plain"),
        (header::CONTENT_LENGTH, "7"),
        (header::CONTENT_DISPOSITION, r#"inline; filename="a b.txt""#),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        let found = download(&bob, &path, header).await;
        assert_eq!(found, ("content".to_owned(), expected.to_owned()));
    }
    let policy = download(&bob, &path, header::CONTENT_SECURITY_POLICY)
        .await
        .1;
    assert!(policy.starts_with("sandbox; default-src 'none'; script-src 'none';"));
    let renamed = download(&bob, &format!("{path}/c.txt"), header::CONTENT_DISPOSITION).await;
    assert_eq!(renamed.1, "inline; filename=c.txt");
    assert_eq!(
        app.unauthenticated().get(&path).await.refused(),
        (401, "M_MISSING_TOKEN")
    );
}

#[tokio::test]
async fn what_a_browser_could_run_is_saved_and_not_shown() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    for content_type in ["text/html", "image/svg+xml", "application/javascript"] {
        let file = upload(&alice, "filename=f", content_type, "<script/>").await;
        let path = format!("{DOWNLOAD}/{file}");
        let disposition = download(&alice, &path, header::CONTENT_DISPOSITION).await.1;
        assert_eq!(disposition, "attachment; filename=f");
    }
}

#[tokio::test]
async fn old_paths_serve_those_with_a_token_and_hide_files_from_others() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let file = upload(&alice, "", "img/png", "content").await;
    let path = format!("{OLD}/download/{file}");
    assert_eq!(
        download(&alice, &path, header::CONTENT_TYPE).await,
        ("content".to_owned(), "img/png".to_owned())
    );
    assert_eq!(
        app.unauthenticated().get(&path).await.refused(),
        (404, "M_NOT_FOUND")
    );
    let config = alice.get("/_matrix/client/v1/media/config").await.ok();
    assert_eq!(config, json!({ "m.upload.size": 50 * 1024 * 1024 }));
    assert_eq!(alice.get(&format!("{OLD}/config")).await.ok(), config);
}

#[tokio::test]
async fn unknown_foreign_and_malformed_ids_are_not_found() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let server_name = app.server_name();
    for id in [
        format!("{server_name}/unknown"),
        format!("{server_name}/..%2F..%2Fetc%2Fpasswd"),
    ] {
        let answer = alice.get(&format!("{DOWNLOAD}/{id}")).await;
        assert_eq!(answer.refused(), (404, "M_NOT_FOUND"), "{id}");
    }
    let answer = alice
        .get(&format!("{DOWNLOAD}/elsewhere.example/unknown"))
        .await;
    assert_eq!(answer.refused(), (403, "M_FORBIDDEN"));
    for id in [
        "not%20a%20name/id".to_owned(),
        format!("{server_name}/a%00b"),
    ] {
        let answer = alice.get(&format!("{DOWNLOAD}/{id}")).await;
        assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"), "{id}");
    }
}

#[tokio::test]
async fn too_large_and_unauthenticated_uploads_are_refused() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let said = (50 * 1024 * 1024 + 1).to_string();
    let request = || request(Method::POST, "/_matrix/media/v3/upload");
    let (head, _) = alice
        .exchange(request().header(header::CONTENT_LENGTH, said), "x")
        .await;
    assert_eq!(head.status, 413);
    let (head, _) = app.unauthenticated().exchange(request(), "content").await;
    assert_eq!(head.status, 401);
}

#[tokio::test]
async fn content_may_come_after_its_id() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let created = alice.post("/_matrix/media/v1/create", json!({})).await.ok();
    assert!(created["unused_expires_at"].is_u64());
    let file = name(&created);
    let path = format!("{DOWNLOAD}/{file}");
    let answer = alice.get(&format!("{path}?timeout_ms=0")).await;
    assert_eq!(answer.refused(), (504, "M_NOT_YET_UPLOADED"));

    let upload_path = format!("{OLD}/upload/{file}");
    let put = || request(Method::PUT, &upload_path).header(header::CONTENT_TYPE, "text/plain");
    let (head, _) = bob.exchange(put(), "content").await;
    assert_eq!(head.status, 403);
    let waiting = download(&bob, &path, header::CONTENT_TYPE);
    let (found, (head, _)) = tokio::join!(waiting, alice.exchange(put(), "content"));
    assert_eq!(head.status, 200);
    assert_eq!(found, ("content".to_owned(), "text/plain".to_owned()));
    let answer = alice.call(Method::PUT, &upload_path, "other").await;
    assert_eq!(answer.refused(), (409, "M_CANNOT_OVERWRITE_MEDIA"));
}

#[tokio::test]
async fn parts_of_files_are_served() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let file = upload(&alice, "filename=f", "text/plain", "0123456789").await;
    let path = format!("{DOWNLOAD}/{file}");
    let part = async |path: &str, range: &str| {
        let request = request(Method::GET, path).header(header::RANGE, range);
        let (head, body) = alice.exchange(request, "").await;
        let range = head.headers.get(header::CONTENT_RANGE).cloned();
        let range = range.map(|range| range.to_str().unwrap().to_owned());
        let length = head.headers[header::CONTENT_LENGTH].to_str().unwrap();
        assert_eq!(length, body.len().to_string());
        (
            head.status.as_u16(),
            range.unwrap_or_default(),
            String::from_utf8(body.to_vec()).unwrap(),
        )
    };
    let expected = |status, range: &str, body: &str| (status, range.to_owned(), body.to_owned());
    let found = part(&path, "bytes=2-4").await;
    assert_eq!(found, expected(206, "bytes 2-4/10", "234"));
    let found = part(&format!("{path}/name"), "bytes=8-100").await;
    assert_eq!(found, expected(206, "bytes 8-9/10", "89"));
    let found = part(&path, "bytes=-1").await;
    assert_eq!(found, expected(206, "bytes 9-9/10", "9"));
    let found = part(&path, "bytes=1-2,5-6").await;
    assert_eq!(found, expected(200, "", "0123456789"));
    assert_eq!(part(&path, "bytes=10-").await.0, 416);
    let conditional = request(Method::GET, &path)
        .header(header::RANGE, "bytes=1-2")
        .header(header::IF_RANGE, "\"tag\"");
    let (head, body) = alice.exchange(conditional, "").await;
    assert_eq!((head.status.as_u16(), &body[..]), (200, &b"0123456789"[..]));
}
