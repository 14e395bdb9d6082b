//! What runs by the hour.

use api::routes;
use axum::{Router, body::Body};
use config::RegistrationMode;
use http::{Request, header};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::TestDatabase;
use tower::ServiceExt as _;

use super::*;
use crate::app;

/// A server of which only the requests are served.
struct Server {
    app: App,
    router: Router,
    database: TestDatabase,
    _folder: TempDir,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            server_name: testkit::server_name(),
            data_dir: folder.path().to_owned(),
            ..Config::default()
        };
        config.registration.mode = RegistrationMode::Open;
        let database = testkit::database().await;
        let dependencies = Dependencies {
            database: database.database.clone(),
            committer: database.committer.clone(),
            live: Live::new(
                database.database.clone(),
                &database.feed,
                live::Settings {
                    budget: 1 << 20,
                    max_typing_users: 100,
                    presence: true,
                },
            ),
            clock: Clock::system(),
            stopping: CancellationToken::new(),
        };
        let app = app::build(&config, dependencies).await.unwrap();
        Self {
            router: routes::all().into_router(app.clone()),
            app,
            database,
            _folder: folder,
        }
    }

    async fn post(&self, token: &str, path: &str, body: Value) -> Value {
        let request = Request::post(format!("/_matrix/client/v3/{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert!(response.status().is_success(), "{path}");
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
        serde_json::from_slice(&body.unwrap()).unwrap()
    }

    /// Registers a user, who creates a room.
    async fn user_in_a_room(&self, name: &str) -> String {
        let body = json!({
            "username": name, "password": "correct horse battery staple",
            "auth": { "type": "m.login.dummy" },
        });
        let user = self.post("", "register", body).await;
        let token = user["access_token"].as_str().unwrap();
        self.post(token, "createRoom", json!({})).await;
        user["user_id"].as_str().unwrap().to_owned()
    }

    /// Deactivates a user, as a server does that is killed before the user has left the rooms.
    async fn deactivate(&self, user_id: &str) {
        let statement = format!("UPDATE users SET deactivated_ts = 1 WHERE user_id = '{user_id}'");
        self.database.execute(&statement).await;
    }

    async fn still_in_rooms(&self) -> Vec<String> {
        let users = self.app.identity.deactivated_with_rooms().await.unwrap();
        users.into_iter().map(String::from).collect()
    }
}

#[tokio::test]
async fn deactivated_users_leave_their_rooms_when_the_server_starts() {
    let server = Server::start().await;
    let alice = server.user_in_a_room("alice").await;
    server.deactivate(&alice).await;
    assert_eq!(server.still_in_rooms().await, [&*alice]);
    let before = server.database.database.committed();
    let jobs = periodic_jobs(&server.database.database, &server.app);
    let stopping = CancellationToken::new();
    let mut task = tokio::task::JoinSet::new();
    let running = stopping.clone();
    task.spawn(async move { jobs.run(running).await });
    server.database.database.committed_after(before).await;
    assert_eq!(server.still_in_rooms().await, [""; 0]);
    stopping.cancel();
    task.join_all().await;
}

#[tokio::test]
async fn job_makes_all_deactivated_users_leave_and_may_find_none() {
    let server = Server::start().await;
    let (alice, bob) = (
        server.user_in_a_room("alice").await,
        server.user_in_a_room("bob").await,
    );
    leave_deactivated(server.app.clone()).await.expect("none");
    server.deactivate(&alice).await;
    server.deactivate(&bob).await;
    leave_deactivated(server.app.clone()).await.expect("two");
    assert_eq!(server.still_in_rooms().await, [""; 0]);
}
