//! The whole server in process, and its users, for tests over HTTP.

mod user;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
};
use config::{Config, RegistrationMode};
use http::{Method, header, request, response};
use live::Live;
use ruma::OwnedServerName;
use serde_json::{Value, json};
use server::app::Dependencies;
use storage::Database;
use tempfile::TempDir;
use testkit::TestDatabase;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use types::Clock;

pub(crate) use user::TestUser;

/// The password of every registered user.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A server of its own: a fresh database, a fresh folder, the real router.
pub(crate) struct TestApp {
    pub(crate) app: api::App,
    pub(crate) database: Database,
    router: Router,
    server_name: OwnedServerName,
    /// Removed with the server.
    _folder: TempDir,
}

/// Somebody who calls the server, with an access token or without.
#[derive(Clone)]
pub(crate) struct Client {
    router: Router,
    pub(crate) token: Option<String>,
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl TestApp {
    /// Starts a server on which everybody may register and nothing is limited.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// Starts a server whose configuration differs from that.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            server_name: testkit::server_name(),
            data_dir: folder.path().to_owned(),
            ..Config::default()
        };
        config.registration.mode = RegistrationMode::Open;
        config.rate_limits.enabled = false;
        change(&mut config);
        let TestDatabase {
            database,
            committer,
            mut feed,
            ..
        } = testkit::database().await;
        let live = live::Settings {
            budget: 64 * 1024 * 1024,
            max_typing_users: config.limits.typing_users_per_room as usize,
            presence: config.presence.enabled,
        };
        let live = Live::new(database.clone(), &feed, live);
        let follower = live.clone();
        #[expect(clippy::disallowed_methods, reason = "tests have no supervisor")]
        tokio::spawn(async move { follower.run(&mut feed).await });
        let dependencies = Dependencies {
            database: database.clone(),
            committer,
            live,
            clock: Clock::system(),
            stopping: CancellationToken::new(),
        };
        let app = server::app::build(&config, dependencies).await.unwrap();
        Self {
            router: api::routes::all().into_router(app.clone()),
            app,
            database,
            server_name: config.server_name,
            _folder: folder,
        }
    }

    /// The domain of the server's users.
    pub(crate) fn server_name(&self) -> &str {
        self.server_name.as_str()
    }

    /// A caller without an access token.
    pub(crate) fn unauthenticated(&self) -> Client {
        Client {
            router: self.router.clone(),
            token: None,
        }
    }

    /// Registers a user.
    pub(crate) async fn user(&self, localpart: &str) -> TestUser {
        let body = json!({
            "username": localpart,
            "password": PASSWORD,
            "auth": { "type": "m.login.dummy" },
        });
        let answer = self
            .unauthenticated()
            .post("/_matrix/client/v3/register", body)
            .await;
        self.session(&answer.ok())
    }

    /// Logs a registered user in on a device.
    pub(crate) async fn login(&self, user: &TestUser, device_id: &str) -> TestUser {
        let body = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": user.user_id },
            "password": PASSWORD,
            "device_id": device_id,
        });
        let answer = self
            .unauthenticated()
            .post("/_matrix/client/v3/login", body)
            .await;
        self.session(&answer.ok())
    }

    /// The session that an answer has begun.
    pub(crate) fn session(&self, answer: &Value) -> TestUser {
        let text = |field: &str| answer[field].as_str().unwrap().to_owned();
        let mut client = self.unauthenticated();
        client.token = Some(text("access_token"));
        TestUser {
            client,
            user_id: text("user_id"),
            device_id: text("device_id"),
        }
    }

    /// Alice, Bob, and a public room of Alice's in which both are.
    pub(crate) async fn public_room(&self) -> (TestUser, TestUser, String) {
        let (alice, bob) = (self.user("alice").await, self.user("bob").await);
        let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
        bob.join(&room_id).await.ok();
        (alice, bob, room_id)
    }

    /// Alice, Bob, and a private room of Alice's to which Bob is invited.
    pub(crate) async fn private_room(&self) -> (TestUser, TestUser, String) {
        let (alice, bob) = (self.user("alice").await, self.user("bob").await);
        let room_id = alice.create_room(json!({ "preset": "private_chat" })).await;
        alice.invite(&room_id, &bob).await.ok();
        (alice, bob, room_id)
    }
}

impl Answer {
    /// The body of an answer that must be a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!(
            self.status < 300,
            "refused with {}: {}",
            self.status,
            self.body
        );
        self.body
    }

    /// The status and `errcode` of an answer that must be a refusal.
    #[track_caller]
    pub(crate) fn refused(&self) -> (u16, &str) {
        assert!(
            self.status >= 400,
            "accepted with {}: {}",
            self.status,
            self.body
        );
        (
            self.status,
            self.body["errcode"].as_str().unwrap_or_default(),
        )
    }
}

impl Client {
    /// Sends one request; `path` may have a query.
    pub(crate) async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let (head, body) = self.exchange(request, body).await;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer {
            status: head.status.as_u16(),
            body,
        }
    }

    /// Sends a request with headers of its own and gives the answer as it is.
    pub(crate) async fn exchange(
        &self,
        mut request: request::Builder,
        body: impl Into<Body>,
    ) -> (response::Parts, Bytes) {
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        (head, axum::body::to_bytes(body, usize::MAX).await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, Body::empty()).await
    }
}

/// Where the sync after this answer goes on: `since=…`.
pub(crate) fn since(answer: &Value) -> String {
    format!("since={}", answer["next_batch"].as_str().unwrap())
}

/// A filter in a query: `filter=…`.
pub(crate) fn filter(filter: &Value) -> String {
    format!("filter={}", encoded(&filter.to_string()))
}

/// A path segment with everything but letters and digits percent-encoded.
pub(crate) fn encoded(segment: &str) -> String {
    segment
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
