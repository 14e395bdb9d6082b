//! What runs by the hour, on a clock that is put forward.

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
            live: Live::new(database.database.clone(), &database.feed, 1 << 20),
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

/// Puts the clock forward; the database is answered in real time.
async fn advance(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn deactivated_users_leave_their_rooms_within_the_hour() {
    let server = Server::start().await;
    let (alice, bob) = (
        server.user_in_a_room("alice").await,
        server.user_in_a_room("bob").await,
    );
    server.deactivate(&alice).await;
    let before = server.database.database.committed();
    let app = server.app.clone();
    let mut task = tokio::task::JoinSet::new();
    task.spawn(async move { leave_rooms_of_deactivated(&app).await });

    // When the server starts, at once.
    let before = server.database.database.committed_after(before).await;
    assert_eq!(server.still_in_rooms().await, [""; 0]);

    server.deactivate(&bob).await;
    advance(Duration::from_mins(59)).await;
    // Had anything been found, it would have been written before this answer.
    assert_eq!(server.still_in_rooms().await, [&*bob]);
    assert_eq!(server.database.database.committed(), before);
    advance(Duration::from_mins(1)).await;
    server.database.database.committed_after(before).await;
    assert_eq!(server.still_in_rooms().await, [""; 0]);
    assert!(task.try_join_next().is_none(), "the task goes on");
}
