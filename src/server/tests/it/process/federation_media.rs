//! Files of one server, for the users of another.

use std::{io::Cursor, thread};

use image::{DynamicImage, GenericImageView as _, ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};
use testkit::TestCa;

use super::{
    client::{Client, File},
    federation::{OPEN, Place},
    federation_joins::{Side, pair},
    http,
};

const DOWNLOAD: &str = "/_matrix/client/v1/media/download";
const THUMBNAIL: &str = "/_matrix/client/v1/media/thumbnail";

fn get(side: &Side, path: &str) -> File {
    side.user.file(&side.server.clients(), path)
}

fn upload(side: &Side, filename: &str, content_type: &str, content: &[u8]) -> String {
    side.user
        .upload(&side.server.clients(), filename, content_type, content)
}

#[test]
fn files_of_the_other_server_are_served_as_its_own_users_get_them() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    for (filename, content_type, content) in [
        ("a%20b.txt", "text/plain", &b"content"[..]),
        ("%F0%9F%90%94.html", "text/html", b"<script/>"),
        ("", "image/png", b""),
        ("large", "video/mp4", &content),
    ] {
        let file = upload(&bob, filename, content_type, content);
        let (here, there) = thread::scope(|scope| {
            let downloads =
                [0; 4].map(|_| scope.spawn(|| get(&alice, &format!("{DOWNLOAD}/{file}"))));
            let [first, ..] = downloads.map(|download| download.join().unwrap());
            (first, get(&bob, &format!("{DOWNLOAD}/{file}")))
        });
        assert_eq!((here.status, there.status), (200, 200));
        assert!(here.content == content && there.content == content);
        for header in [
            "content-type",
            "content-disposition",
            "content-security-policy",
            "x-content-type-options",
        ] {
            assert!(here.header(header).is_some());
            assert_eq!(here.header(header), there.header(header));
        }
        let renamed = get(&alice, &format!("{DOWNLOAD}/{file}/c"));
        let disposition = renamed.header("content-disposition").unwrap();
        assert!(disposition.ends_with("; filename=c"), "{disposition}");
        let length = content.len().to_string();
        assert_eq!(renamed.header("content-length"), Some(&*length));
        assert!(renamed.content == content);
        let legacy = format!("/_matrix/media/v3/download/{file}");
        assert!(get(&alice, &legacy).content == content);
        let own_only = get(&alice, &format!("{legacy}?allow_remote=false"));
        assert_eq!(
            (own_only.status, own_only.errcode()),
            (404, json!("M_NOT_FOUND"))
        );
    }
    let missing = get(&alice, &format!("{DOWNLOAD}/{}/none", bob.name));
    assert_eq!(
        (missing.status, missing.errcode()),
        (404, json!("M_NOT_FOUND"))
    );

    // What is kept is served although the other server is gone.
    let file = upload(&bob, "", "text/plain", b"kept");
    let path = format!("{DOWNLOAD}/{file}");
    assert_eq!(get(&alice, &path).content, b"kept");
    let lost = format!("{DOWNLOAD}/{}", upload(&bob, "", "text/plain", b"lost"));
    bob.server.terminate();
    assert_eq!(get(&alice, &path).content, b"kept");
    let lost = get(&alice, &lost);
    assert_eq!((lost.status, lost.errcode()), (502, json!("M_UNKNOWN")));
    alice.server.terminate();
}

#[test]
fn images_of_the_other_server_have_thumbnails() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let image = DynamicImage::from(RgbImage::from_fn(500, 250, |x, y| {
        Rgb([(x % 256) as u8, (y % 256) as u8, 7])
    }));
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png).unwrap();
    let file = upload(&bob, "", "image/png", &png.into_inner());
    let path = format!("{THUMBNAIL}/{file}?width=300&height=100&method=scale");
    for _ in 0..2 {
        let (here, there) = (get(&alice, &path), get(&bob, &path));
        assert_eq!((here.status, there.status), (200, 200));
        assert_eq!(here.header("content-type"), there.header("content-type"));
        assert_eq!(here.content, there.content);
        let thumbnail = image::load_from_memory(&here.content).unwrap();
        assert_eq!(thumbnail.dimensions(), (320, 160));
    }
    let text = upload(&bob, "", "text/plain", b"content");
    let none = get(&alice, &format!("{THUMBNAIL}/{text}?width=32&height=32"));
    assert_eq!((none.status, none.errcode()), (400, json!("M_UNKNOWN")));
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn a_download_waits_for_the_upload_at_the_other_server() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let create = "/_matrix/media/v1/create";
    let created = bob.user.post(&bob.server.clients(), create);
    let uri = created["content_uri"].as_str().unwrap();
    let file = uri.strip_prefix("mxc://").unwrap();
    let early = get(&alice, &format!("{DOWNLOAD}/{file}?timeout_ms=0"));
    assert_eq!(
        (early.status, early.errcode()),
        (504, json!("M_NOT_YET_UPLOADED"))
    );
    thread::scope(|scope| {
        let waiting = scope.spawn(|| get(&alice, &format!("{DOWNLOAD}/{file}?timeout_ms=60000")));
        let path = format!("/_matrix/media/v3/upload/{file}");
        bob.user
            .put_file(&bob.server.clients(), &path, "text/plain", b"content");
        assert_eq!(waiting.join().unwrap().content, b"content");
    });
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn files_are_for_allowed_and_authenticated_servers_only() {
    let ca = TestCa::new();
    let (here, there) = (Place::new(&ca, "127.0.0.2"), Place::new(&ca, "127.0.0.3"));
    let one = here.start(ca.file(), OPEN);
    let other = there.start(ca.file(), "[federation]\nmode = \"closed\"\n");
    let alice = Client::register(&one.clients(), "alice");
    let bob = Client::register(&other.clients(), "bob");
    let file = bob.upload(&other.clients(), "", "text/plain", b"secret");
    let refused = alice.file(&one.clients(), &format!("{DOWNLOAD}/{file}"));
    assert_eq!(
        (refused.status, refused.errcode()),
        (502, json!("M_UNKNOWN"))
    );
    let of_alice = alice.upload(&one.clients(), "", "text/plain", b"content");
    let refused = bob.file(&other.clients(), &format!("{DOWNLOAD}/{of_alice}"));
    assert_eq!(
        (refused.status, refused.errcode()),
        (403, json!("M_FORBIDDEN"))
    );

    let (_, media_id) = of_alice.split_once('/').unwrap();
    for kind in ["download", "thumbnail"] {
        let path = format!("/_matrix/federation/v1/media/{kind}/{media_id}?width=1&height=1");
        let (status, body) = http::get(&one.clients(), &path);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["errcode"]), (401, &json!("M_UNAUTHORIZED")));
    }
    one.terminate();
    other.terminate();
}
