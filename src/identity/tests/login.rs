use super::*;
use crate::Error;

#[tokio::test]
async fn user_is_named_by_id_or_local_part_in_any_case() {
    let world = world(RegistrationMode::Closed).await;
    world.user("alice", "secret").await;
    for name in [
        "alice",
        "Alice",
        "@alice:test.localhost",
        "@ALICE:test.localhost",
    ] {
        let login = world.login(name, "secret", DeviceRequest::default()).await;
        assert_eq!(login.user_id, "@alice:test.localhost");
    }
}

#[tokio::test]
async fn unknown_user_and_wrong_password_are_indistinguishable() {
    let world = world(RegistrationMode::Closed).await;
    world.user("alice", "secret").await;
    for (name, password) in [
        ("alice", "Secret"),
        ("alice", ""),
        ("bob", "secret"),
        ("@alice:elsewhere.org", "secret"),
        ("a\0", "secret"),
        ("@a\0:test.localhost", "secret"),
    ] {
        let error = world
            .identity
            .login(credentials(name, password), DeviceRequest::default())
            .await;
        assert!(matches!(error, Err(Error::InvalidCredentials)), "{name}");
    }
}

#[tokio::test]
async fn login_on_a_device_replaces_its_session() {
    let mut world = world(RegistrationMode::Closed).await;
    world.user("alice", "secret").await;
    world.device_lists().await;
    let old = world.login("alice", "secret", device("PHONE")).await;
    assert_eq!(world.device_lists().await, ["alice"]);
    world.active(&old).await;
    let new = world.login("alice", "secret", device("PHONE")).await;
    assert_eq!(world.device_lists().await, [""; 0]);
    let user = world.active(&new).await;
    assert_eq!(user.device_id, "PHONE");
    let dead = world.identity.authenticate(&old.tokens.access_token).await;
    assert!(matches!(
        dead,
        Err(Error::UnknownToken { soft_logout: false })
    ));
    assert_eq!(
        world.identity.devices(&user.user_id).await.unwrap().len(),
        2
    );
}

#[tokio::test]
async fn device_ids_the_database_cannot_hold_are_refused() {
    let world = world(RegistrationMode::Closed).await;
    world.user("alice", "secret").await;
    for id in ["", "a\0b", &"x".repeat(300)] {
        let error = world
            .identity
            .login(credentials("alice", "secret"), device(id))
            .await;
        assert!(matches!(error, Err(Error::InvalidParam(_))));
    }
}

#[tokio::test]
async fn logout_ends_the_session_and_deletes_the_device() {
    let mut world = world(RegistrationMode::Closed).await;
    let first = world.user("alice", "secret").await;
    let second = world
        .login("alice", "secret", DeviceRequest::default())
        .await;
    let user = world.active(&first).await;
    world.device_lists().await;
    world.identity.logout(&user).await.unwrap();
    assert_eq!(world.device_lists().await, ["alice"]);
    assert!(!world.is_known(&first.tokens.access_token).await);
    let user = world.active(&second).await;
    assert_eq!(
        world.identity.devices(&user.user_id).await.unwrap().len(),
        1
    );
}

#[tokio::test]
async fn logout_everywhere_ends_all_sessions() {
    let world = world(RegistrationMode::Closed).await;
    let logins = [
        world.user("alice", "secret").await,
        world
            .login("alice", "secret", DeviceRequest::default())
            .await,
    ];
    let other = world.user("bob", "secret").await;
    let user = world.active(&logins[0]).await;
    world.active(&logins[1]).await;
    world.identity.logout_all(&user.user_id).await.unwrap();
    for login in logins {
        assert!(!world.is_known(&login.tokens.access_token).await);
    }
    world.active(&other).await;
}

#[tokio::test]
async fn access_token_of_a_client_that_refreshes_expires_softly() {
    let world = world(RegistrationMode::Closed).await;
    world.user("alice", "secret").await;
    let login = world.login("alice", "secret", refreshable()).await;
    world.active(&login).await;
    assert_eq!(login.tokens.expires_in, Some(Duration::from_mins(5)));
    world.clock.advance(HOUR);
    let expired = world
        .identity
        .authenticate(&login.tokens.access_token)
        .await;
    assert!(matches!(
        expired,
        Err(Error::UnknownToken { soft_logout: true })
    ));
    let refresh = login.tokens.refresh_token.unwrap();
    let tokens = world.identity.refresh(&refresh).await.unwrap();
    let caller = world
        .identity
        .authenticate(&tokens.access_token)
        .await
        .unwrap();
    assert_eq!(caller.device_id(), Some(&*login.device_id));
}

#[tokio::test]
async fn old_tokens_are_valid_until_a_new_one_is_used() {
    let world = world(RegistrationMode::Closed).await;
    world.user("alice", "secret").await;
    let login = world.login("alice", "secret", refreshable()).await;
    let old = login.tokens.refresh_token.clone().unwrap();
    world.active(&login).await;
    let lost = world.identity.refresh(&old).await.unwrap();
    world.active(&login).await;
    let new = world.identity.refresh(&old).await.unwrap();
    assert!(!world.is_known(&lost.access_token).await);
    assert!(world.is_known(&login.tokens.access_token).await);
    assert!(world.is_known(&new.access_token).await);
    assert!(!world.is_known(&login.tokens.access_token).await);
    assert!(world.identity.refresh(&old).await.is_err());
    assert!(
        world
            .identity
            .refresh(&lost.refresh_token.unwrap())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn use_of_the_new_refresh_token_ends_the_old_ones() {
    let world = world(RegistrationMode::Closed).await;
    world.user("alice", "secret").await;
    let login = world.login("alice", "secret", refreshable()).await;
    world.active(&login).await;
    let first = world
        .identity
        .refresh(&login.tokens.refresh_token.unwrap())
        .await
        .unwrap();
    let second = world
        .identity
        .refresh(&first.refresh_token.unwrap())
        .await
        .unwrap();
    assert!(!world.is_known(&login.tokens.access_token).await);
    assert!(world.is_known(&second.access_token).await);
}

#[tokio::test]
async fn access_and_refresh_tokens_are_not_interchangeable() {
    let world = world(RegistrationMode::Closed).await;
    world.user("alice", "secret").await;
    let tokens = world.login("alice", "secret", refreshable()).await.tokens;
    assert!(world.identity.refresh(&tokens.access_token).await.is_err());
    assert!(!world.is_known(&tokens.refresh_token.unwrap()).await);
}

#[tokio::test]
async fn login_token_is_valid_once_and_for_two_minutes() {
    let world = world(RegistrationMode::Closed).await;
    let login = world.user("alice", "secret").await;
    let user = world.active(&login).await;
    let confirmed = world.confirm(&user, "secret").await;
    let token = world
        .identity
        .login_token(&user.user_id, confirmed)
        .await
        .unwrap()
        .token;
    let credentials = LoginCredentials::Token(Secret::new(token));
    let other = world
        .identity
        .login(credentials.clone(), device("NEW"))
        .await
        .unwrap();
    assert_eq!(other.user_id, login.user_id);
    let again = world.identity.login(credentials, device("NEW")).await;
    assert!(matches!(again, Err(Error::InvalidLoginToken)));
    let confirmed = world.confirm(&user, "secret").await;
    let token = world
        .identity
        .login_token(&user.user_id, confirmed)
        .await
        .unwrap()
        .token;
    world.clock.advance(HOUR);
    let late = world
        .identity
        .login(LoginCredentials::Token(Secret::new(token)), device("NEW"))
        .await;
    assert!(matches!(late, Err(Error::InvalidLoginToken)));
}

#[tokio::test]
async fn device_list_includes_last_seen() {
    let world = world(RegistrationMode::Closed).await;
    let user = world.active(&world.user("alice", "secret").await).await;
    let caller = Caller::User(user.clone());
    world
        .identity
        .record_last_seen(&caller, [10, 0, 0, 7].into());
    for _ in 0..2 {
        let device = world
            .identity
            .device(&user.user_id, &user.device_id)
            .await
            .unwrap();
        assert_eq!(device.last_seen_ip.as_deref(), Some("10.0.0.7"));
        assert_eq!(device.last_seen_ts, Some(1_700_000_000_000));
        world.identity.write_last_seen().await.unwrap();
    }
}

#[tokio::test]
async fn logins_on_one_device_at_once_leave_one_session() {
    let world = world(RegistrationMode::Closed).await;
    world.user("alice", "secret").await;
    let (one, two) = tokio::join!(
        world.login("alice", "secret", device("PHONE")),
        world.login("alice", "secret", device("PHONE")),
    );
    let one = world.identity.authenticate(&one.tokens.access_token).await;
    let two = world.identity.authenticate(&two.tokens.access_token).await;
    assert!(one.is_ok() != two.is_ok());
}

#[tokio::test]
async fn login_tokens_end_with_the_sessions() {
    let world = world(RegistrationMode::Closed).await;
    let user = world.active(&world.user("alice", "secret").await).await;
    let confirmed = world.confirm(&user, "secret").await;
    let token = world
        .identity
        .login_token(&user.user_id, confirmed)
        .await
        .unwrap();
    world.identity.logout_all(&user.user_id).await.unwrap();
    let credentials = LoginCredentials::Token(Secret::new(token.token));
    let late = world.identity.login(credentials, device("NEW")).await;
    assert!(matches!(late, Err(Error::InvalidLoginToken)));
}

#[tokio::test]
async fn login_racing_with_password_change_is_refused() {
    let world = world(RegistrationMode::Closed).await;
    let user = world.active(&world.user("alice", "secret").await).await;
    let (user_id, proved) = world
        .identity
        .verify_password("alice", Secret::new("secret"))
        .await
        .unwrap();
    let confirmed = world.confirm(&user, "secret").await;
    let new = Secret::new("another");
    let changed = world.identity.change_password(&user, new, true, confirmed);
    changed.await.unwrap();
    let late = world
        .identity
        .begin_session(user_id, proved, DeviceRequest::default())
        .await;
    assert!(matches!(late, Err(Error::InvalidCredentials)));
}

#[tokio::test]
async fn login_racing_with_deactivation_is_refused() {
    let world = world(RegistrationMode::Closed).await;
    let user = world.active(&world.user("alice", "secret").await).await;
    let confirmed = world.confirm(&user, "secret").await;
    let closed = world.identity.deactivate(&user, false, confirmed);
    closed.await.unwrap();
    let late = world
        .identity
        .begin_session(user.user_id.clone(), None, DeviceRequest::default())
        .await;
    assert!(matches!(late, Err(Error::InvalidCredentials)));
}

#[tokio::test]
async fn guests_are_authenticated_as_guests() {
    let database = testkit::database().await;
    let options = database.options.clone();
    let world = world_on(database, RegistrationMode::Closed);
    let login = world.user("alice", "secret").await;
    let database = TestDatabase::open(options).await;
    database.execute("UPDATE users SET is_guest = true").await;
    assert!(world.caller(&login).await.is_guest());
}
