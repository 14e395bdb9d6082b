use testkit::{Writer, room::TestRoom};

use super::*;
use crate::{Error, uia::IncompleteUia};

async fn incomplete(world: &World, user: &ActiveUser, auth: serde_json::Value) -> IncompleteUia {
    let caller = Some(&*user.user_id);
    match world
        .identity
        .confirm(PASSWORD, caller, &request(), attempt(auth))
        .await
        .unwrap()
    {
        UiaStatus::Incomplete(incomplete) => incomplete,
        UiaStatus::Complete(_) => panic!("confirmed"),
    }
}

#[tokio::test]
async fn caller_confirms_with_their_own_password() {
    let world = world(RegistrationMode::Closed).await;
    world.user("bob", "hers").await;
    let user = world.active(&world.user("alice", "secret").await).await;
    for (name, password) in [("bob", "hers"), ("bob", "secret"), ("", "secret")] {
        let auth = serde_json::json!({
            "type": "m.login.password", "password": password,
            "identifier": { "type": "m.id.user", "user": name },
        });
        let caller = Some(&*user.user_id);
        let verdict = world
            .identity
            .confirm(PASSWORD, caller, &request(), attempt(auth))
            .await;
        assert!(
            matches!(verdict, Err(Error::UiaUserMismatch)),
            "{name} {password}"
        );
    }
    let auth = serde_json::json!({ "type": "m.login.password", "password": "wrong" });
    let incomplete = incomplete(&world, &user, auth).await;
    assert!(matches!(incomplete.error, Some(Error::InvalidCredentials)));
    for auth in [
        serde_json::json!({ "type": "m.login.password", "password": "secret", "user": user.user_id }),
        serde_json::json!({
            "type": "m.login.password", "password": "secret",
            "identifier": { "type": "m.id.user", "user": "alice" },
        }),
    ] {
        let caller = Some(&*user.user_id);
        let verdict = world
            .identity
            .confirm(PASSWORD, caller, &request(), attempt(auth))
            .await;
        assert!(matches!(verdict, Ok(UiaStatus::Complete(_))));
    }
}

#[tokio::test]
async fn session_of_one_user_is_not_valid_for_another() {
    let world = world(RegistrationMode::Closed).await;
    let alice = world.active(&world.user("alice", "secret").await).await;
    let mallory = world.active(&world.user("mallory", "secret").await).await;
    let session = incomplete(&world, &alice, serde_json::json!({}))
        .await
        .session;
    let auth = attempt(serde_json::json!({ "session": session }));
    let verdict = world
        .identity
        .confirm(PASSWORD, Some(&mallory.user_id), &request(), auth)
        .await;
    assert!(matches!(verdict, Err(Error::UiaRequestChanged)));
}

#[tokio::test]
async fn new_password_ends_the_other_sessions() {
    let world = world(RegistrationMode::Closed).await;
    let login = world.user("alice", "old").await;
    let other = world.login("alice", "old", DeviceRequest::default()).await;
    let user = world.active(&login).await;
    world.active(&other).await;
    let confirmed = world.confirm(&user, "old").await;
    world
        .identity
        .change_password(&user, Secret::new("new"), true, confirmed)
        .await
        .unwrap();
    world.active(&login).await;
    assert!(!world.is_known(&other.tokens.access_token).await);
    let old = world
        .identity
        .login(credentials("alice", "old"), DeviceRequest::default())
        .await;
    assert!(matches!(old, Err(Error::InvalidCredentials)));
    world.login("alice", "new", DeviceRequest::default()).await;
}

#[tokio::test]
async fn new_password_keeps_other_sessions_if_requested() {
    let world = world(RegistrationMode::Closed).await;
    let login = world.user("alice", "old").await;
    let other = world.login("alice", "old", DeviceRequest::default()).await;
    let user = world.active(&login).await;
    let confirmed = world.confirm(&user, "old").await;
    world
        .identity
        .change_password(&user, Secret::new("new"), false, confirmed)
        .await
        .unwrap();
    world.active(&other).await;
}

#[tokio::test]
async fn deactivated_username_cannot_be_reused() {
    let mut world = world(RegistrationMode::Closed).await;
    let login = world.user("alice", "secret").await;
    let user = world.active(&login).await;
    world.device_lists().await;
    let confirmed = world.confirm(&user, "secret").await;
    world
        .identity
        .deactivate(&user, true, confirmed)
        .await
        .unwrap();
    assert_eq!(world.device_lists().await, ["alice"]);
    assert!(!world.is_known(&login.tokens.access_token).await);
    let again = world
        .identity
        .login(credentials("alice", "secret"), DeviceRequest::default())
        .await;
    assert!(matches!(again, Err(Error::InvalidCredentials)));
    assert!(matches!(
        world.identity.check_available("alice").await,
        Err(Error::UserInUse)
    ));
    assert!(
        world
            .identity
            .profile(&user.user_id)
            .await
            .unwrap()
            .0
            .is_empty()
    );
}

#[tokio::test]
async fn devices_are_named_and_deleted() {
    let mut world = world(RegistrationMode::Closed).await;
    let user = world.active(&world.user("alice", "secret").await).await;
    let other = world.login("alice", "secret", device("PHONE")).await;
    world.active(&other).await;
    let phone = &other.device_id;
    world.device_lists().await;
    world
        .identity
        .rename_device(&user.user_id, phone, Some("My phone"))
        .await
        .unwrap();
    assert_eq!(world.device_lists().await, ["alice"]);
    let named = world.identity.device(&user.user_id, phone).await.unwrap();
    assert_eq!(named.display_name.as_deref(), Some("My phone"));

    let confirmed = world.confirm(&user, "secret").await;
    let unknown = "NOTHING".into();
    world
        .identity
        .delete_devices(&user.user_id, &[phone.clone(), unknown], confirmed)
        .await
        .unwrap();
    assert_eq!(world.device_lists().await, ["alice"]);
    assert!(!world.is_known(&other.tokens.access_token).await);
    for name in [None, Some("x")] {
        let gone = world
            .identity
            .rename_device(&user.user_id, phone, name)
            .await;
        assert!(matches!(gone, Err(Error::UnknownDevice)));
    }
}

#[tokio::test]
async fn invalid_passwords_are_refused() {
    let world = world(RegistrationMode::Closed).await;
    for password in [String::new(), "x".repeat(513)] {
        let new = NewUser {
            username: "alice".to_owned(),
            password: Some(Secret::new(password)),
            display_name: None,
            is_admin: false,
        };
        let error = world.identity.create_user(new).await;
        assert!(matches!(error, Err(Error::InvalidPassword)));
    }
}

#[tokio::test]
async fn account_without_a_password_confirms_nothing() {
    let world = world(RegistrationMode::Closed).await;
    let new = NewUser {
        username: "alice".to_owned(),
        password: None,
        display_name: None,
        is_admin: false,
    };
    let user_id = world.identity.create_user(new).await.unwrap();
    let login = world
        .identity
        .begin_session(user_id, None, DeviceRequest::default())
        .await
        .unwrap();
    let user = world.active(&login).await;
    for password in ["", "no such user"] {
        let auth = serde_json::json!({ "type": "m.login.password", "password": password });
        let incomplete = incomplete(&world, &user, auth).await;
        assert!(matches!(incomplete.error, Some(Error::InvalidCredentials)));
    }
    let error = world
        .identity
        .login(
            credentials("alice", "no such user"),
            DeviceRequest::default(),
        )
        .await;
    assert!(matches!(error, Err(Error::InvalidCredentials)));
}

#[tokio::test]
async fn deactivated_user_is_found_while_in_a_room() {
    let database = testkit::database().await;
    let writer = Writer::new(&database);
    let world = world_on(database, RegistrationMode::Closed);
    let user = world.active(&world.user("alice", "secret").await).await;
    let alice = &user.user_id;
    let room = TestRoom::create(&writer, alice).await;
    assert_eq!(
        world.identity.deactivated_with_rooms().await.unwrap(),
        [""; 0]
    );
    let confirmed = world.confirm(&user, "secret").await;
    let closed = world.identity.deactivate(&user, false, confirmed);
    closed.await.unwrap();
    assert_eq!(
        world.identity.deactivated_with_rooms().await.unwrap(),
        [alice.as_str()]
    );
    room.member(&writer, alice, alice, "leave").await;
    assert_eq!(
        world.identity.deactivated_with_rooms().await.unwrap(),
        [""; 0]
    );
}
