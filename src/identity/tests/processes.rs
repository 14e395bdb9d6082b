//! Several processes on one database know the same sessions.

use config::RegistrationMode;
use ruma::OwnedDeviceId;
use storage::{PeerEvent, PeerEvents};
use testkit::TestDatabase;
use tokio::task::JoinSet;
use types::{ErrorKind, Fault, Secret};

use super::{World, credentials, device, refreshable, world_on};
use crate::{DeviceRequest, Error, Login};

/// Two connected processes.
struct Pair {
    here: World,
    there: World,
    /// What the second one receives.
    events: PeerEvents,
    database: TestDatabase,
    _tasks: JoinSet<()>,
}

impl Pair {
    async fn new() -> Self {
        let database = testkit::database().await;
        let open = async || {
            let database = TestDatabase::open(database.options.clone()).await;
            world_on(database, RegistrationMode::Open)
        };
        let (mut here, mut there) = (open().await, open().await);
        let events = there.identity.0.database.subscribe();
        let mut tasks = JoinSet::new();
        for world in [&mut here, &mut there] {
            let (publish, listen) = world.feed.connect_cluster();
            tasks.spawn(publish);
            tasks.spawn(listen);
        }
        let mut pair = Self {
            here,
            there,
            events,
            database,
            _tasks: tasks,
        };
        pair.apply_resync().await;
        pair
    }

    /// Waits until the second process receives something, and lets it apply that.
    async fn apply_next(&mut self) -> PeerEvent {
        let event = self.events.next().await.expect("the process lives");
        self.there.identity.0.tokens.apply_peer_event(&event);
        event
    }

    async fn apply_message(&mut self) {
        let event = self.apply_next().await;
        assert!(matches!(event, PeerEvent::Message(_)), "{event:?}");
    }

    async fn apply_resync(&mut self) {
        let event = self.apply_next().await;
        assert!(matches!(event, PeerEvent::Resync), "{event:?}");
    }

    /// Logs in at the first process and calls the second one.
    async fn login(&self, device: DeviceRequest) -> Login {
        let login = self.here.login("alice", "sesame", device).await;
        self.there.active(&login).await;
        login
    }

    /// Waits until the second process has received a message and checks that it does not know the
    /// session any more.
    async fn is_over(&mut self, login: &Login) {
        self.apply_message().await;
        self.is_refused(login).await;
    }

    async fn is_refused(&self, login: &Login) {
        let identity = &self.there.identity;
        let error = identity.authenticate(&login.tokens.access_token).await;
        assert!(
            matches!(error, Err(Error::UnknownToken { .. })),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn tokens_ended_at_one_process_are_unknown_to_the_others() {
    let mut pair = Pair::new().await;
    pair.here.user("alice", "sesame").await;

    let login = pair.login(DeviceRequest::default()).await;
    let user = pair.here.active(&login).await;
    pair.here.identity.logout(&user).await.unwrap();
    pair.is_over(&login).await;

    let login = pair.login(device("PHONE")).await;
    let kept = pair.login(device("PHONE")).await;
    pair.is_over(&login).await;
    pair.there.active(&kept).await;

    let user = pair.here.active(&kept).await;
    pair.here.identity.logout_all(&user.user_id).await.unwrap();
    pair.is_over(&kept).await;

    let login = pair.login(device("PHONE")).await;
    let other = pair.login(device("DESK")).await;
    let user = pair.here.active(&other).await;
    let confirmed = pair.here.confirm(&user, "sesame").await;
    let phone = [OwnedDeviceId::from("PHONE")];
    let deleted = pair
        .here
        .identity
        .delete_devices(&user.user_id, &phone, confirmed);
    deleted.await.unwrap();
    pair.is_over(&login).await;

    let login = pair.login(device("PHONE")).await;
    let confirmed = pair.here.confirm(&user, "sesame").await;
    let password = Secret::new("sesame");
    let changed = pair
        .here
        .identity
        .change_password(&user, password, true, confirmed);
    changed.await.unwrap();
    pair.is_over(&login).await;
    pair.there.active(&other).await;

    let confirmed = pair.here.confirm(&user, "sesame").await;
    let closed = pair.here.identity.deactivate(&user, false, confirmed);
    closed.await.unwrap();
    pair.is_over(&other).await;
}

#[tokio::test]
async fn the_first_use_of_a_refreshed_token_ends_the_old_one_everywhere() {
    let mut pair = Pair::new().await;
    pair.here.user("alice", "sesame").await;
    let old = pair.login(refreshable()).await;
    let refresh_token = old.tokens.refresh_token.as_deref().unwrap();
    let tokens = pair.here.identity.refresh(refresh_token).await.unwrap();
    pair.there.active(&old).await;
    pair.here
        .identity
        .authenticate(&tokens.access_token)
        .await
        .unwrap();
    pair.is_over(&old).await;
}

#[tokio::test]
async fn revocations_of_many_tokens_reach_other_processes() {
    let mut pair = Pair::new().await;
    pair.here.user("alice", "sesame").await;
    let mut logins = Vec::new();
    for number in 0..60 {
        logins.push(pair.login(device(&number.to_string())).await);
    }
    let user = pair.here.active(&logins[0]).await;
    pair.here.identity.logout_all(&user.user_id).await.unwrap();
    // They do not fit into one message.
    pair.apply_message().await;
    pair.apply_message().await;
    for login in &logins {
        pair.is_refused(login).await;
    }
}

#[tokio::test]
async fn tokens_are_looked_up_again_after_messages_may_have_been_missed() {
    let mut pair = Pair::new().await;
    pair.here.user("alice", "sesame").await;
    let login = pair.login(DeviceRequest::default()).await;
    pair.database.execute("DELETE FROM session_tokens").await;
    pair.there.active(&login).await;
    pair.database.disconnect().await;
    pair.apply_resync().await;
    loop {
        let identity = &pair.there.identity;
        match identity.authenticate(&login.tokens.access_token).await {
            Ok(_) => panic!("it was believed"),
            // The connections of before are found to be dead one by one.
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(Error::UnknownToken { .. }) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    pair.there
        .identity
        .login(credentials("alice", "sesame"), DeviceRequest::default())
        .await
        .unwrap();
}
