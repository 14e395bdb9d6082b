use std::{net::SocketAddr, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use config::AddressRange;
use http::{Response as HttpResponse, StatusCode, Version, header};
use serde::Deserialize;
use testkit::{DnsServer, HttpsServer, ReceivedRequest, TestCa};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_BODY: usize = 1000;

fn loopback() -> AddressGuard {
    #[derive(Deserialize)]
    struct Settings {
        allowed: Vec<AddressRange>,
    }
    let settings: Settings = toml::from_str("allowed = ['127.0.0.0/8']").unwrap();
    AddressGuard::new(&settings.allowed)
}

fn roots(ca: &TestCa) -> TrustRoots {
    TrustRoots::only(ca.file()).unwrap()
}

fn endpoint(host: &str, host_header: &str, address: SocketAddr) -> Endpoint {
    Endpoint {
        host: host.to_owned(),
        host_header: host_header.to_owned(),
        addresses: vec![address],
    }
}

fn hello(_: &ReceivedRequest) -> HttpResponse<Body> {
    HttpResponse::new(Body::from("hello"))
}

fn request(target: &'static str) -> http::Request<Bytes> {
    let mut request = http::Request::new(Bytes::new());
    *request.uri_mut() = http::Uri::from_static(target);
    request
}

async fn get(endpoint: &Endpoint, ca: &TestCa) -> Result<Response, Error> {
    let client = EndpointClient::new(endpoint, &roots(ca), &loopback())?;
    client.send(request("/a?b=c"), TIMEOUT, MAX_BODY).await
}

#[tokio::test]
async fn a_name_without_a_port_is_the_host_wherever_the_server_listens() {
    let ca = TestCa::new();
    let server = HttpsServer::start(&ca, &["a.test"], hello).await;
    let response = get(&endpoint("a.test", "a.test", server.address()), &ca).await;
    assert_eq!(response.unwrap().body(), "hello");
    let received = &server.received()[0];
    assert_eq!(received.host, "a.test");
    assert_eq!(received.sni.as_deref(), Some("a.test"));
    assert_eq!(received.target, "/a?b=c");
    assert_eq!(received.version, Version::HTTP_2);
}

#[tokio::test]
async fn a_port_in_the_name_is_part_of_the_host() {
    let ca = TestCa::new();
    let server = HttpsServer::start(&ca, &["a.test"], hello).await;
    let name = format!("a.test:{}", server.address().port());
    get(&endpoint("a.test", &name, server.address()), &ca)
        .await
        .unwrap();
    let received = &server.received()[0];
    assert_eq!(
        (&received.host, received.sni.as_deref()),
        (&name, Some("a.test"))
    );
}

#[tokio::test]
async fn the_usual_port_stays_in_the_host_if_the_name_has_it() {
    let ca = TestCa::new();
    let server = HttpsServer::start(&ca, &["a.test"], hello).await;
    get(&endpoint("a.test", "a.test:443", server.address()), &ca)
        .await
        .unwrap();
    assert_eq!(server.received()[0].host, "a.test:443");
}

#[tokio::test]
async fn an_address_needs_a_certificate_for_it_and_is_the_host_without_its_port() {
    let ca = TestCa::new();
    let server = HttpsServer::start(&ca, &["127.0.0.1"], hello).await;
    get(&endpoint("127.0.0.1", "127.0.0.1", server.address()), &ca)
        .await
        .unwrap();
    let received = &server.received()[0];
    assert_eq!(
        (&*received.host, received.sni.as_deref()),
        ("127.0.0.1", None)
    );

    let other = HttpsServer::start(&ca, &["a.test"], hello).await;
    let refused = get(&endpoint("127.0.0.1", "127.0.0.1", other.address()), &ca).await;
    assert!(matches!(refused, Err(Error::Http(_))), "{refused:?}");
}

#[tokio::test]
async fn a_certificate_must_be_for_the_host_and_of_a_trusted_authority() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let server = HttpsServer::start(&ca, &["a.test"], hello).await;
    let wrong_name = get(&endpoint("b.test", "b.test", server.address()), &ca).await;
    assert!(matches!(wrong_name, Err(Error::Http(_))), "{wrong_name:?}");
    let wrong_authority = get(&endpoint("a.test", "a.test", server.address()), &other).await;
    assert!(
        matches!(wrong_authority, Err(Error::Http(_))),
        "{wrong_authority:?}"
    );
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn no_connection_is_made_into_ones_own_network() {
    let ca = TestCa::new();
    let server = HttpsServer::start(&ca, &["a.test", "127.0.0.1"], hello).await;
    let closed = AddressGuard::new(&[]);
    for host in ["a.test", "127.0.0.1"] {
        let endpoint = endpoint(host, host, server.address());
        let sent = match EndpointClient::new(&endpoint, &roots(&ca), &closed) {
            Ok(client) => client.send(request("/"), TIMEOUT, MAX_BODY).await,
            Err(error) => Err(error),
        };
        assert!(matches!(sent, Err(Error::AddressDenied(_))), "{sent:?}");
    }
    assert!(server.received().is_empty());
}

#[test]
fn a_name_that_only_the_url_standard_takes_for_an_address_is_refused() {
    let ca = TestCa::new();
    for host in ["2130706433", "0x7f.1", "127.1"] {
        let endpoint = endpoint(host, host, "192.0.2.1:8448".parse().unwrap());
        let client = EndpointClient::new(&endpoint, &roots(&ca), &loopback());
        assert!(matches!(client, Err(Error::Url(_))), "{host}: {client:?}");
    }
}

#[tokio::test]
async fn a_response_is_read_up_to_its_limit_only() {
    let ca = TestCa::new();
    let server = HttpsServer::start(&ca, &["a.test"], |received| {
        let chunk = Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 100]));
        HttpResponse::new(match &*received.target {
            "/exact" => Body::from(vec![b'x'; MAX_BODY]),
            "/long" => Body::from(vec![b'x'; MAX_BODY + 1]),
            _ => Body::from_stream(futures::stream::repeat_with(move || {
                chunk
                    .as_ref()
                    .map(Clone::clone)
                    .map_err(|_| std::io::Error::other("none"))
            })),
        })
    })
    .await;
    let endpoint = endpoint("a.test", "a.test", server.address());
    let client = EndpointClient::new(&endpoint, &roots(&ca), &loopback()).unwrap();
    let get = async |target| client.send(request(target), TIMEOUT, MAX_BODY).await;
    assert_eq!(get("/exact").await.unwrap().body().len(), MAX_BODY);
    for target in ["/long", "/endless"] {
        let response = get(target).await;
        assert!(
            matches!(response, Err(Error::TooLarge(MAX_BODY))),
            "{response:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let ca = TestCa::new();
    let server = HttpsServer::start(&ca, &["a.test"], |_| {
        HttpResponse::new(Body::from_stream(futures::stream::pending::<
            Result<Bytes, std::io::Error>,
        >()))
    })
    .await;
    let endpoint = endpoint("a.test", "a.test", server.address());
    let client = EndpointClient::new(&endpoint, &roots(&ca), &loopback()).unwrap();
    let response = client
        .send(request("/"), Duration::from_millis(200), MAX_BODY)
        .await;
    assert!(matches!(response, Err(Error::Timeout)), "{response:?}");
}

#[tokio::test]
async fn redirects_are_not_followed_to_another_server() {
    let ca = TestCa::new();
    let server = HttpsServer::start(&ca, &["a.test"], |_| moved("https://b.test/")).await;
    let response = get(&endpoint("a.test", "a.test", server.address()), &ca).await;
    assert_eq!(response.unwrap().status(), StatusCode::FOUND);
}

fn moved(to: &str) -> HttpResponse<Body> {
    let moved = HttpResponse::builder().status(StatusCode::FOUND);
    moved
        .header(header::LOCATION, to)
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn documents_are_found_over_redirects_but_not_inside() {
    let (ca, dns) = (TestCa::new(), DnsServer::start().await);
    for name in ["a.test", "b.test"] {
        dns.add_address(name, "127.0.0.1");
    }
    dns.add_address("inside.test", "10.0.0.1");
    let target = HttpsServer::start(&ca, &["b.test"], hello).await;
    let port = target.address().port();
    let server = HttpsServer::start(&ca, &["a.test"], move |received| match &*received.target {
        "/moved" => moved(&format!("https://b.test:{port}/document")),
        "/loop" => moved("/loop"),
        "/inside" => moved("https://inside.test/"),
        "/inside-by-address" => moved("https://192.168.0.1/"),
        "/unencrypted" => moved("http://b.test/"),
        path => moved(&format!("{path}x")),
    })
    .await;
    let resolver = Dns::new(&[dns.address()]).unwrap();
    let client = WebClient::new(resolver, &roots(&ca), loopback()).unwrap();
    let get = async |path: &str| {
        let url = format!("https://a.test:{}{path}", server.address().port());
        client.get(&url, TIMEOUT, MAX_BODY).await
    };
    assert_eq!(get("/moved").await.unwrap().body(), "hello");
    for path in ["/inside", "/inside-by-address"] {
        let response = get(path).await;
        assert!(
            matches!(response, Err(Error::AddressDenied(_))),
            "{path}: {response:?}"
        );
    }
    for path in ["/loop", "/x", "/unencrypted"] {
        let response = get(path).await;
        assert!(
            matches!(response, Err(Error::Http(_))),
            "{path}: {response:?}"
        );
    }
    assert!(server.received().len() < 20);
}

#[tokio::test]
async fn dns_is_asked_for_complete_names() {
    let dns = DnsServer::start().await;
    dns.add_address("a.test", "192.0.2.1");
    dns.add_address("a.test", "2001:db8::1");
    dns.add_service("_matrix-fed._tcp.a.test", 5, 8448, "b.test");
    dns.add_service("_matrix-fed._tcp.none.test", 0, 0, ".");
    let resolver = Dns::new(&[dns.address()]).unwrap();
    let mut found = resolver.addresses("a.test").await.unwrap().addresses;
    found.sort();
    assert_eq!(
        found,
        ["192.0.2.1", "2001:db8::1"].map(|address| address.parse::<std::net::IpAddr>().unwrap())
    );
    let missing = resolver.addresses("b.test").await;
    assert!(matches!(missing, Err(Error::NoAddress(_))), "{missing:?}");

    let services = async |name| resolver.services(name).await.unwrap();
    let found = services("_matrix-fed._tcp.a.test").await.unwrap().services;
    assert_eq!((&*found[0].target, found[0].port), ("b.test", 8448));
    assert_eq!(
        services("_matrix-fed._tcp.none.test")
            .await
            .unwrap()
            .services,
        []
    );
    assert_eq!(services("_matrix-fed._tcp.b.test").await, None);
    assert!(
        dns.asked()
            .iter()
            .all(|name| name.split(' ').next().unwrap().ends_with(".test."))
    );
}
