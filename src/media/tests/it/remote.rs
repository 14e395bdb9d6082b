//! Files of other servers: fetched once, served while they arrive, kept within limits.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use http::{Response, StatusCode, header};
use media::{Download, Error, ThumbnailRequest};
use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName, media::Method};
use testkit::{HttpsServer, ReceivedRequest, TestCa};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use types::{ErrorKind, Fault as _};

use crate::support::{Setting, with_federation};

const NEW: &str = "/_matrix/federation/v1/media";
const OLD: &str = "/_matrix/media/v3";
const START: &str = "--abc\r\nContent-Type: application/json\r\n\r\n{}\r\n--abc\r\n\
    Content-Type: image/x\r\nContent-Disposition: inline; filename=\"a b\"\r\n\r\n";
const END: &str = "\r\n--abc--\r\n";

const RETENTION_MS: u64 = 365 * 24 * 60 * 60 * 1000;

type Answers = Arc<Mutex<HashMap<String, Response<Body>>>>;

/// This server, and another one that answers each path once.
struct Pair {
    setting: Setting,
    server: HttpsServer,
    origin: OwnedServerName,
    answers: Answers,
}

impl Pair {
    async fn start() -> Self {
        let ca = TestCa::new();
        let answers = Answers::default();
        let known = Arc::clone(&answers);
        let answer = move |received: &ReceivedRequest| {
            let path = received.target.split('?').next().expect("a path");
            let answer = known.lock().remove(path);
            answer.unwrap_or_else(|| failure(404, "M_NOT_FOUND"))
        };
        let server = HttpsServer::start(&ca, &["127.0.0.1"], answer).await;
        let settings: config::Federation = toml::from_str(&format!(
            "mode = 'open'
             ca_file = '{}'
             allowed_networks = ['127.0.0.0/8']
             dns_servers = ['127.0.0.1:1']",
            ca.file().display()
        ))
        .expect("settings");
        Self {
            setting: with_federation(&settings).await,
            origin: ServerName::parse(server.address().to_string()).expect("a name"),
            server,
            answers,
        }
    }

    /// The next answer to a path, query aside.
    fn answer(&self, path: &str, response: Response<Body>) {
        self.answers.lock().insert(path.to_owned(), response);
    }

    fn has_file(&self, media_id: &str, content: &[u8]) {
        let body = [START.as_bytes(), content, END.as_bytes()].concat();
        self.answer(&format!("{NEW}/download/{media_id}"), multipart(body));
    }

    async fn download(&self, media_id: &str) -> Result<Download, Error> {
        let media = &self.setting.media;
        media.download(&self.origin, media_id, Duration::ZERO).await
    }

    async fn content(&self, media_id: &str) -> Result<Vec<u8>, Error> {
        read(self.download(media_id).await?).await
    }

    async fn kind(&self, media_id: &str) -> ErrorKind {
        self.content(media_id).await.expect_err("no file").kind()
    }

    async fn thumbnail(&self, media_id: &str) -> Result<Vec<u8>, Error> {
        let request = ThumbnailRequest {
            width: 32,
            height: 32,
            method: Method::Crop,
            animated: None,
        };
        let media = &self.setting.media;
        let thumbnail = media.thumbnail(&self.origin, media_id, request, Duration::ZERO);
        read(thumbnail.await?).await
    }

    /// The requests that the other server has received.
    fn requests(&self) -> Vec<String> {
        let received = self.server.received();
        received.into_iter().map(|request| request.target).collect()
    }

    /// What copies take by the database's count, and the files in the folder.
    async fn cached(&self) -> (u64, usize) {
        let mut db = self
            .setting
            .test
            .database
            .acquire()
            .await
            .expect("a connection");
        let bytes = storage::media::cache::total_bytes(&mut db).await;
        (bytes.expect("a number"), self.setting.files())
    }
}

async fn read(download: Download) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    let mut body = download.body;
    while let Some(bytes) = body.next().await {
        content.extend_from_slice(&bytes?);
    }
    Ok(content)
}

fn multipart(body: impl Into<Body>) -> Response<Body> {
    let content_type = "multipart/mixed; boundary=abc";
    let response = Response::builder().header(header::CONTENT_TYPE, content_type);
    response.body(body.into()).expect("a response")
}

fn failure(status: u16, errcode: &str) -> Response<Body> {
    let response = Response::builder().status(status);
    let body = format!(r#"{{"errcode": "{errcode}", "error": "?"}}"#);
    response.body(body.into()).expect("a response")
}

fn redirect(url: &str) -> Response<Body> {
    let response = Response::builder().status(StatusCode::TEMPORARY_REDIRECT);
    let response = response.header(header::LOCATION, url);
    response.body(Body::empty()).expect("a response")
}

/// A body that is sent piece by piece; an error ends it early.
fn in_pieces() -> (UnboundedSender<io::Result<Bytes>>, Body) {
    let (sender, receiver) = unbounded_channel();
    let pieces = futures::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    (sender, Body::from_stream(pieces))
}

async fn next(body: &mut BoxStream<'static, Result<Bytes, Error>>, length: usize) -> Vec<u8> {
    let mut content = Vec::new();
    while content.len() < length {
        let bytes = body.next().await.expect("more").expect("content");
        content.extend_from_slice(&bytes);
    }
    content
}

#[tokio::test]
async fn a_file_is_fetched_once_and_served_while_it_arrives() {
    let pair = Pair::start().await;
    let (pieces, body) = in_pieces();
    let send = |bytes: &'static [u8]| pieces.send(Ok(bytes.into())).expect("a reader");
    pair.answer(&format!("{NEW}/download/a"), multipart(body));
    send(START.as_bytes());
    send(b"first");
    let mut downloads = Vec::new();
    for download in [pair.download("a").await, pair.download("a").await] {
        let download = download.expect("a file");
        assert_eq!(download.content_type.as_deref(), Some("image/x"));
        assert_eq!(download.filename.as_deref(), Some("a b"));
        downloads.push(download.body);
    }
    for body in &mut downloads {
        assert_eq!(next(body, 5).await, b"first");
    }
    send(b"second");
    for body in &mut downloads {
        assert_eq!(next(body, 6).await, b"second");
    }
    send(END.as_bytes());
    for body in &mut downloads {
        assert!(body.next().await.is_none());
    }
    let download = pair.download("a").await.expect("a file");
    assert_eq!(
        (download.size, download.filename.as_deref()),
        (Some(11), Some("a b"))
    );
    assert_eq!(read(download).await.expect("content"), b"firstsecond");
    assert_eq!(pair.requests(), [format!("{NEW}/download/a?timeout_ms=0")]);
    assert_eq!(pair.cached().await, (11, 1));
}

#[tokio::test]
async fn a_fetch_goes_on_when_nobody_waits_for_it_any_more() {
    let pair = Pair::start().await;
    let (pieces, body) = in_pieces();
    pair.answer(&format!("{NEW}/download/a"), multipart(body));
    pieces.send(Ok(START.into())).expect("a reader");
    drop(pair.download("a").await.expect("a file"));
    pieces.send(Ok(END.into())).expect("a reader");
    drop(pieces);
    assert_eq!(pair.content("a").await.expect("content"), b"");
    assert_eq!(pair.requests().len(), 1);
}

#[tokio::test]
async fn files_that_cannot_be_had_have_clear_errors_and_leave_nothing() {
    let pair = Pair::start().await;
    let path = |media_id: &str| format!("{NEW}/download/{media_id}");
    assert_eq!(pair.kind("none").await, ErrorKind::NotFound);
    pair.answer(&path("early"), failure(504, "M_NOT_YET_UPLOADED"));
    assert_eq!(pair.kind("early").await, ErrorKind::NotYetUploaded);
    pair.answer(&path("large"), failure(502, "M_TOO_LARGE"));
    assert_eq!(pair.kind("large").await, ErrorKind::RemoteTooLarge);
    pair.answer(&path("refused"), failure(403, "M_FORBIDDEN"));
    assert_eq!(pair.kind("refused").await, ErrorKind::BadGateway);
    pair.answer(&path("slow"), failure(504, "M_UNKNOWN"));
    assert_eq!(pair.kind("slow").await, ErrorKind::BadGateway);
    pair.answer(&path("plain"), Response::new(Body::from("content")));
    assert_eq!(pair.kind("plain").await, ErrorKind::BadGateway);
    pair.answer(&path("cut"), multipart(format!("{START}content")));
    assert_eq!(pair.kind("cut").await, ErrorKind::BadGateway);
    for media_id in ["", "a/b", "..", "\u{e9}"] {
        assert_eq!(pair.kind(media_id).await, ErrorKind::NotFound);
    }
    assert_eq!(pair.requests().len(), 7);
    assert_eq!(pair.cached().await, (0, 0));
}

#[tokio::test]
async fn too_large_files_are_given_up_while_they_arrive() {
    let pair = Pair::start().await;
    let (pieces, body) = in_pieces();
    pair.answer(&format!("{NEW}/download/a"), multipart(body));
    pieces.send(Ok(START.into())).expect("a reader");
    let mut download = pair.download("a").await.expect("a file");
    let mut sent = 0;
    while pieces.send(Ok(vec![0; 100_000].into())).is_ok() {
        sent += 1;
        assert!(sent < 1_000, "it is read without end");
        tokio::task::yield_now().await;
    }
    let ended = loop {
        match download.body.next().await.expect("an error") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(ended.kind(), ErrorKind::RemoteTooLarge);
    assert_eq!(pair.cached().await, (0, 0));
}

#[tokio::test]
async fn a_file_that_could_not_be_had_is_not_asked_for_at_once() {
    let pair = Pair::start().await;
    for _ in 0..3 {
        assert_eq!(pair.kind("a").await, ErrorKind::NotFound);
    }
    assert_eq!(pair.requests().len(), 1);
    let early = format!("{NEW}/download/b");
    for _ in 0..2 {
        pair.answer(&early, failure(504, "M_NOT_YET_UPLOADED"));
        assert_eq!(pair.kind("b").await, ErrorKind::NotYetUploaded);
    }
    pair.has_file("b", b"content");
    assert_eq!(pair.content("b").await.expect("content"), b"content");
}

#[tokio::test]
async fn older_servers_are_asked_on_the_older_path() {
    let pair = Pair::start().await;
    let path = format!("{OLD}/download/{}/a", pair.origin);
    pair.answer(&format!("{NEW}/download/a"), failure(404, "M_UNRECOGNIZED"));
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "text/plain")
        .header(header::CONTENT_DISPOSITION, "attachment; filename=c");
    pair.answer(&path, response.body("content".into()).expect("a response"));
    let download = pair.download("a").await.expect("a file");
    assert_eq!(download.content_type.as_deref(), Some("text/plain"));
    assert_eq!(download.filename.as_deref(), Some("c"));
    assert_eq!(download.size, Some(7));
    assert_eq!(read(download).await.expect("content"), b"content");
    let asked = pair.requests();
    assert!(
        asked[1].starts_with(&format!("{path}?allow_remote=false")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_file_may_be_elsewhere_but_not_inside() {
    let pair = Pair::start().await;
    let elsewhere = format!("https://{}/elsewhere", pair.origin);
    let location = |url: &str| {
        let part = "--abc\r\n\r\n{}\r\n--abc\r\nLocation: ";
        multipart(format!("{part}{url}\r\n\r\n\r\n--abc--"))
    };
    pair.answer(&format!("{NEW}/download/a"), location(&elsewhere));
    pair.answer("/elsewhere", Response::new("content".into()));
    assert_eq!(pair.content("a").await.expect("content"), b"content");

    pair.answer(&format!("{NEW}/download/b"), failure(404, "M_UNRECOGNIZED"));
    pair.answer(
        &format!("{OLD}/download/{}/b", pair.origin),
        redirect(&elsewhere),
    );
    pair.answer("/elsewhere", Response::new("content".into()));
    assert_eq!(pair.content("b").await.expect("content"), b"content");

    for (media_id, url) in [
        ("c", "https://10.0.0.1/"),
        ("d", "https://[::1]/"),
        ("e", &format!("http://{}/elsewhere", pair.origin)),
        ("f", "file:///etc/passwd"),
        ("g", "not a URL"),
        ("h", &format!("https://{}/loop", pair.origin)),
    ] {
        pair.answer("/loop", redirect("/loop"));
        pair.answer("/elsewhere", Response::new("content".into()));
        pair.answer(&format!("{NEW}/download/{media_id}"), location(url));
        assert_eq!(pair.kind(media_id).await, ErrorKind::BadGateway, "{url}");
    }
}

#[tokio::test]
async fn the_policy_is_asked_for_cached_files_too() {
    let pair = Pair::start().await;
    pair.has_file("a", b"content");
    assert!(pair.content("a").await.is_ok());
    let closed = with_federation(&config::Federation::default()).await;
    let refused = closed
        .media
        .download(&pair.origin, "a", Duration::ZERO)
        .await;
    assert_eq!(refused.err().expect("refused").kind(), ErrorKind::Forbidden);

    let now_closed = config::Federation::default();
    pair.setting.federation.policy().replace(&now_closed);
    assert_eq!(pair.kind("a").await, ErrorKind::Forbidden);
}

#[tokio::test]
async fn the_least_recently_used_copies_make_room() {
    let pair = Pair::start().await;
    let content = vec![0; 600 * 1024];
    for media_id in ["a", "b", "c"] {
        pair.has_file(media_id, &content);
        assert_eq!(pair.content(media_id).await.expect("content"), content);
        pair.setting.clock.advance(1_000);
    }
    pair.setting.media.evict().await.expect("evicted");
    assert_eq!(pair.cached().await.1, 3, "all fit");

    assert!(pair.content("a").await.is_ok());
    pair.setting.clock.advance(1_000);
    pair.has_file("d", &content);
    assert!(pair.content("d").await.is_ok());
    pair.setting.media.evict().await.expect("evicted");
    assert_eq!(pair.cached().await, (3 * 600 * 1024, 3));
    let before = pair.requests().len();
    for media_id in ["a", "c", "d"] {
        assert!(pair.content(media_id).await.is_ok());
    }
    assert_eq!(pair.requests().len(), before);
    pair.has_file("b", &content);
    assert!(pair.content("b").await.is_ok());
    assert_eq!(pair.requests().len(), before + 1);
}

#[tokio::test]
async fn a_copy_that_has_disappeared_is_fetched_again() {
    let pair = Pair::start().await;
    for _ in 0..2 {
        pair.has_file("a", b"content");
        assert_eq!(pair.content("a").await.expect("content"), b"content");
        pair.setting.remove_cached_files();
    }
    pair.has_file("a", b"content");
    let refused = pair.thumbnail("a").await;
    assert!(matches!(refused, Err(Error::NoThumbnail)));
    assert_eq!(
        pair.requests()
            .iter()
            .filter(|target| target.contains("download"))
            .count(),
        3
    );
    assert_eq!(pair.cached().await, (7, 1));
}

#[tokio::test]
async fn thumbnails_are_made_here_or_by_the_origin() {
    let pair = Pair::start().await;
    let image = image::RgbImage::from_pixel(200, 100, image::Rgb([1, 2, 3]));
    let mut png = io::Cursor::new(Vec::new());
    let written = image.write_to(&mut png, image::ImageFormat::Png);
    written.expect("a PNG");
    let png = png.into_inner();
    pair.has_file("a", &png);
    for _ in 0..2 {
        let thumbnail = pair.thumbnail("a").await.expect("a thumbnail");
        let image = image::load_from_memory(&thumbnail).expect("an image");
        assert_eq!((image.width(), image.height()), (32, 32));
        assert_eq!(
            pair.cached().await,
            ((png.len() + thumbnail.len()) as u64, 2)
        );
    }
    assert_eq!(pair.requests().len(), 1);

    // Of no format that is known here.
    pair.has_file("b", b"an image of tomorrow");
    let body = [START.as_bytes(), &png, END.as_bytes()].concat();
    pair.answer(&format!("{NEW}/thumbnail/b"), multipart(body));
    for _ in 0..2 {
        assert_eq!(pair.thumbnail("b").await.expect("a thumbnail"), png);
    }
    let asked = pair.requests();
    assert_eq!(asked.len(), 3);
    assert!(
        asked[2].contains("width=32") && asked[2].contains("method=crop"),
        "{asked:?}"
    );

    // Too large to be fetched.
    pair.answer(&format!("{NEW}/download/c"), failure(502, "M_TOO_LARGE"));
    let refused = pair.thumbnail("c").await.expect_err("no thumbnail");
    assert_eq!(refused.kind(), ErrorKind::RemoteTooLarge);
    let body = [START.as_bytes(), &png, END.as_bytes()].concat();
    pair.answer(&format!("{NEW}/thumbnail/c"), multipart(body));
    assert_eq!(pair.thumbnail("c").await.expect("a thumbnail"), png);

    pair.setting.media.evict().await.expect("nothing to evict");
    assert_eq!(pair.cached().await.1, 4);
}

#[tokio::test]
async fn copies_that_nobody_asks_for_expire() {
    let pair = Pair::start().await;
    for media_id in ["a", "b"] {
        pair.has_file(media_id, b"content");
        assert!(pair.content(media_id).await.is_ok());
    }
    pair.setting.clock.advance(RETENTION_MS - 1);
    assert!(pair.content("b").await.is_ok());
    pair.setting.media.evict().await.expect("nothing to evict");
    assert_eq!(pair.cached().await, (14, 2));
    pair.setting.clock.advance(1);
    pair.setting.media.evict().await.expect("evicted");
    assert_eq!(pair.cached().await, (7, 1));
    assert!(pair.content("b").await.is_ok());
}
