use axum::body::Body;
use http::{Response, StatusCode};
use net::{AddressGuard, TrustRoots};
use testkit::{DnsServer, HttpsServer, ReceivedRequest, TestCa};

use super::*;

/// What finds servers in a test: DNS, the host `a.test` with its `.well-known`, and discovery.
struct Network {
    dns: DnsServer,
    host: HttpsServer,
    discovery: Discovery,
}

fn settings(text: &str) -> config::Federation {
    toml::from_str(text).unwrap()
}

impl Network {
    /// The host answers requests for its `.well-known` with this; further settings are those of `[federation]`.
    async fn start(
        well_known: impl Fn(&ReceivedRequest) -> Response<Body> + Send + Sync + 'static,
        more: &str,
    ) -> Self {
        let (ca, dns) = (TestCa::new(), DnsServer::start().await);
        dns.add_address("a.test", "127.0.0.1");
        let host = HttpsServer::start(&ca, &["a.test"], well_known).await;
        let settings = settings(&format!("allowed_networks = ['127.0.0.0/8']\n{more}"));
        let guard = AddressGuard::new(&settings.allowed_networks);
        let roots = TrustRoots::only(ca.file()).unwrap();
        let resolver = Dns::new(&[dns.address()]).unwrap();
        let web = WebClient::new(resolver.clone(), &roots, guard).unwrap();
        let ports = Ports {
            https: host.address().port(),
            default: DEFAULT_PORT,
        };
        let clock = Clock::fixed(1_000_000);
        Self {
            dns,
            host,
            discovery: Discovery::new(resolver, web, settings.peers, ports, clock),
        }
    }

    async fn delegating_to(server: &'static str) -> Self {
        let body = format!(r#"{{"m.server": "{server}"}}"#);
        Self::start(move |_| Response::new(Body::from(body.clone())), "").await
    }

    async fn without_delegation() -> Self {
        Self::start(|_| not_found(), "").await
    }

    /// Where a server is: the name in its certificate, the `Host` header, the addresses.
    async fn find(&self, server: &str) -> String {
        let server = ServerName::parse(server).unwrap();
        let Ok(found) = self.discovery.endpoint(&server).await else {
            return NOWHERE.to_owned();
        };
        let addresses: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
        at(&found.host, &found.host_header, &addresses.join(" "))
    }
}

const NOWHERE: &str = "nowhere";

fn at(host: &str, host_header: &str, addresses: &str) -> String {
    format!("{host}, {host_header}, {addresses}")
}

fn not_found() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

#[tokio::test]
async fn addresses_are_used_as_they_are() {
    let network = Network::without_delegation().await;
    let found = network.find("192.0.2.1").await;
    assert_eq!(found, at("192.0.2.1", "192.0.2.1", "192.0.2.1:8448"));
    let found = network.find("192.0.2.1:1234").await;
    assert_eq!(found, at("192.0.2.1", "192.0.2.1:1234", "192.0.2.1:1234"));
    let found = network.find("[2001:db8::1]").await;
    assert_eq!(
        found,
        at("[2001:db8::1]", "[2001:db8::1]", "[2001:db8::1]:8448")
    );
    assert_eq!(network.dns.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_port_in_the_name_skips_delegation() {
    let network = Network::delegating_to("other.test").await;
    let found = network.find("a.test:1234").await;
    assert_eq!(found, at("a.test", "a.test:1234", "127.0.0.1:1234"));
    assert!(network.host.received().is_empty());
}

#[tokio::test]
async fn a_host_delegates_to_an_address() {
    let network = Network::delegating_to("192.0.2.7").await;
    let found = network.find("a.test").await;
    assert_eq!(found, at("192.0.2.7", "192.0.2.7", "192.0.2.7:8448"));
    let received = network.host.received();
    assert_eq!(received[0].target, "/.well-known/matrix/server");
}

#[tokio::test]
async fn a_host_delegates_to_a_name_with_a_port() {
    let network = Network::delegating_to("b.test:1234").await;
    network.dns.add_address("b.test", "192.0.2.8");
    network
        .dns
        .add_service("_matrix-fed._tcp.b.test", 0, 1, "a.test");
    let found = network.find("a.test").await;
    assert_eq!(found, at("b.test", "b.test:1234", "192.0.2.8:1234"));
}

#[tokio::test]
async fn a_host_delegates_to_a_name_with_services() {
    let network = Network::delegating_to("b.test").await;
    network
        .dns
        .add_service("_matrix-fed._tcp.b.test", 20, 2000, "late.test");
    network
        .dns
        .add_service("_matrix-fed._tcp.b.test", 10, 1000, "early.test");
    network
        .dns
        .add_service("_matrix._tcp.b.test", 0, 1, "a.test");
    network.dns.add_address("late.test", "192.0.2.20");
    network.dns.add_address("early.test", "192.0.2.10");
    let found = network.find("a.test").await;
    assert_eq!(
        found,
        at("b.test", "b.test", "192.0.2.10:1000 192.0.2.20:2000")
    );
}

#[tokio::test]
async fn a_host_delegates_to_a_name_without_services() {
    let network = Network::delegating_to("b.test").await;
    network.dns.add_address("b.test", "192.0.2.9");
    let found = network.find("a.test").await;
    assert_eq!(found, at("b.test", "b.test", "192.0.2.9:8448"));
}

#[tokio::test]
async fn without_delegation_the_services_of_the_host_count() {
    let network = Network::without_delegation().await;
    network
        .dns
        .add_service("_matrix-fed._tcp.a.test", 0, 1000, "b.test");
    network.dns.add_address("b.test", "192.0.2.1");
    assert_eq!(
        network.find("a.test").await,
        at("a.test", "a.test", "192.0.2.1:1000")
    );
}

#[tokio::test]
async fn the_deprecated_service_counts_last() {
    let network = Network::without_delegation().await;
    network
        .dns
        .add_service("_matrix._tcp.a.test", 0, 1000, "b.test");
    network.dns.add_address("b.test", "192.0.2.1");
    assert_eq!(
        network.find("a.test").await,
        at("a.test", "a.test", "192.0.2.1:1000")
    );
}

#[tokio::test]
async fn without_anything_the_host_itself_is_the_server() {
    let network = Network::without_delegation().await;
    assert_eq!(
        network.find("a.test").await,
        at("a.test", "a.test", "127.0.0.1:8448")
    );
    assert_eq!(network.find("unknown.test").await, NOWHERE);
}

#[tokio::test]
async fn a_service_that_is_said_not_to_exist_is_not_looked_for_elsewhere() {
    let network = Network::without_delegation().await;
    network
        .dns
        .add_service("_matrix-fed._tcp.a.test", 0, 0, ".");
    assert_eq!(network.find("a.test").await, NOWHERE);
}

#[tokio::test]
async fn answers_that_are_not_valid_count_as_none() {
    let large = format!(
        r#"{{"m.server": "b.test:1", "x": "{}"}}"#,
        "x".repeat(70_000)
    );
    for body in [
        "",
        "b.test:1",
        "{}",
        r#"{"m.server": 1}"#,
        r#"{"m.server": "b test"}"#,
        &large,
    ] {
        let answer = body.to_owned();
        let network = Network::start(move |_| Response::new(Body::from(answer.clone())), "").await;
        let found = network.find("a.test").await;
        assert_eq!(found, at("a.test", "a.test", "127.0.0.1:8448"));
    }
}

#[tokio::test]
async fn configured_servers_are_not_looked_up() {
    let network = Network::start(
        |_| not_found(),
        "[peers]\n\
         'b.test' = { address = '192.0.2.5:9000' }\n\
         'c.test:1234' = { address = '192.0.2.6', host = 'matrix.c.test' }\n\
         'd.test' = { address = 'a.test:1' }",
    )
    .await;
    assert_eq!(
        network.find("b.test").await,
        at("b.test", "b.test", "192.0.2.5:9000")
    );
    let found = network.find("c.test:1234").await;
    assert_eq!(
        found,
        at("matrix.c.test", "matrix.c.test", "192.0.2.6:8448")
    );
    assert_eq!(
        network.find("d.test").await,
        at("d.test", "d.test", "127.0.0.1:1")
    );
    assert!(network.host.received().is_empty());
}

#[tokio::test]
async fn simultaneous_and_later_lookups_ask_once() {
    let network = Network::delegating_to("192.0.2.7").await;
    let find = || network.find("a.test");
    let (one, two, three) = tokio::join!(find(), find(), find());
    assert!(one != NOWHERE && one == two && two == three);
    assert_eq!(find().await, one);
    assert_eq!(network.host.received().len(), 1);

    let server = ServerName::parse("a.test").unwrap();
    network.discovery.forget(&server).await;
    assert_eq!(find().await, one);
    // What the host has said holds for longer than where its server was.
    assert_eq!(network.host.received().len(), 1);
}
