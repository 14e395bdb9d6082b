//! Behaviour on a real database.

mod accounts;
mod data;
mod login;
mod processes;
mod registration;

use std::time::Duration;

use config::RegistrationMode;
use storage::{Change, Feed};
use testkit::TestDatabase;
use types::{Clock, Secret};

use crate::{
    ActiveUser, Caller, DeviceRequest, Identity, Login, LoginCredentials, NewUser, Settings,
    uia::{AuthData, Confirmed, Fingerprint, PASSWORD, UiaStatus},
};

/// The users of an empty server, with a clock that stands still.
struct World {
    identity: Identity,
    clock: Clock,
    feed: Feed,
}

async fn world(mode: RegistrationMode) -> World {
    world_on(testkit::database().await, mode)
}

/// The users of a server that has just started on a database.
fn world_on(database: TestDatabase, mode: RegistrationMode) -> World {
    let TestDatabase {
        database,
        feed,
        committer,
        ..
    } = database;
    let clock = Clock::fixed(1_700_000_000_000);
    let settings = Settings {
        registration: config::Registration {
            mode,
            shared_secret: Some(Secret::new("complement")),
            shared_secret_file: None,
        },
        sessions: config::Sessions::default(),
        limits: config::Limits::default(),
        turn: config::Turn {
            uris: vec!["turn:turn.test.localhost".to_owned()],
            shared_secret: Some(Secret::new("sesame")),
            ..config::Turn::default()
        },
        user_directory: config::UserDirectory::default(),
        token_cache_bytes: 1 << 20,
    };
    let identity = Identity::new(
        settings,
        database,
        committer,
        clock.clone(),
        testkit::server_name(),
    );
    World {
        identity,
        clock,
        feed,
    }
}

impl World {
    async fn user(&self, name: &str, password: &str) -> Login {
        let new = NewUser {
            username: name.to_owned(),
            password: Some(Secret::new(password)),
            display_name: None,
            is_admin: false,
        };
        self.identity.create_user(new).await.unwrap();
        self.login(name, password, DeviceRequest::default()).await
    }

    async fn login(&self, name: &str, password: &str, device: DeviceRequest) -> Login {
        self.identity
            .login(credentials(name, password), device)
            .await
            .unwrap()
    }

    async fn caller(&self, login: &Login) -> Caller {
        let token = &login.tokens.access_token;
        self.identity.authenticate(token).await.unwrap()
    }

    async fn active(&self, login: &Login) -> ActiveUser {
        self.caller(login).await.session().unwrap().clone()
    }

    /// Whether a request may be made with this access token.
    async fn is_known(&self, access_token: &str) -> bool {
        self.identity.authenticate(access_token).await.is_ok()
    }

    /// Confirms a request with the password.
    async fn confirm(&self, user: &ActiveUser, password: &str) -> Confirmed {
        let attempt =
            attempt(serde_json::json!({ "type": "m.login.password", "password": password }));
        let caller = Some(&*user.user_id);
        match self
            .identity
            .confirm(PASSWORD, caller, &request(), attempt)
            .await
            .unwrap()
        {
            UiaStatus::Complete(confirmed) => confirmed,
            UiaStatus::Incomplete(incomplete) => panic!("{incomplete:?}"),
        }
    }

    /// The users whose device lists changed since the last call.
    async fn device_lists(&mut self) -> Vec<String> {
        let to = self.identity.0.database.committed();
        let mut changed = Vec::new();
        while self.feed.position() < to {
            let stretch = self.feed.next().await.unwrap().unwrap();
            changed.extend(
                stretch
                    .changes
                    .iter()
                    .filter_map(|(_, change)| match change {
                        Change::DeviceList { user_id } => Some(user_id.localpart().to_owned()),
                        _ => None,
                    }),
            );
        }
        changed
    }
}

fn credentials(user: &str, password: &str) -> LoginCredentials {
    LoginCredentials::Password {
        user: user.to_owned(),
        password: Secret::new(password),
    }
}

fn device(device_id: &str) -> DeviceRequest {
    DeviceRequest {
        device_id: Some(device_id.into()),
        ..DeviceRequest::default()
    }
}

fn refreshable() -> DeviceRequest {
    DeviceRequest {
        refreshable: true,
        ..DeviceRequest::default()
    }
}

fn request() -> Fingerprint {
    Fingerprint::new("POST", "/_matrix/client/v3/somewhere", b"{}")
}

fn attempt(auth: serde_json::Value) -> Option<AuthData> {
    serde_json::from_value(auth).unwrap()
}

const HOUR: u64 = Duration::from_hours(1).as_millis() as u64;
