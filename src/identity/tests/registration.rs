use ring::hmac;
use serde_json::json;

use super::*;
use crate::{
    Error, RegistrationRequest, SharedSecretRequest,
    uia::{IncompleteUia, Stage},
};

fn registration(username: &str) -> RegistrationRequest {
    RegistrationRequest {
        username: Some(username.to_owned()),
        password: Some(Secret::new("secret")),
        device: Some(DeviceRequest::default()),
    }
}

impl World {
    async fn attempt(&self, auth: Option<AuthData>) -> UiaStatus {
        let flows = self.identity.registration_flows().unwrap();
        self.identity
            .confirm(flows, None, &request(), auth)
            .await
            .unwrap()
    }

    async fn incomplete(&self, auth: Option<AuthData>) -> IncompleteUia {
        match self.attempt(auth).await {
            UiaStatus::Incomplete(incomplete) => incomplete,
            UiaStatus::Complete(_) => panic!("confirmed"),
        }
    }

    async fn confirmed(&self, auth: serde_json::Value) -> Confirmed {
        match self.attempt(attempt(auth)).await {
            UiaStatus::Complete(confirmed) => confirmed,
            UiaStatus::Incomplete(incomplete) => panic!("{incomplete:?}"),
        }
    }
}

#[tokio::test]
async fn registration_is_refused_when_closed() {
    let world = world(RegistrationMode::Closed).await;
    assert!(matches!(
        world.identity.registration_flows(),
        Err(Error::RegistrationClosed)
    ));
}

#[tokio::test]
async fn open_server_asks_for_the_dummy_stage_first() {
    let world = world(RegistrationMode::Open).await;
    let incomplete = world.incomplete(None).await;
    assert_eq!(incomplete.flows, [[Stage::Dummy]]);
    let auth = json!({ "type": "m.login.dummy", "session": incomplete.session });
    let confirmed = world.confirmed(auth).await;
    let (user_id, login) = world
        .identity
        .register(registration("Alice"), confirmed)
        .await
        .unwrap();
    assert_eq!(user_id, "@alice:test.localhost");
    assert_eq!(world.active(&login.unwrap()).await.user_id, user_id);
    assert_eq!(
        world
            .identity
            .profile(&user_id)
            .await
            .unwrap()
            .display_name(),
        Some("alice")
    );
}

#[tokio::test]
async fn registration_does_not_need_a_session() {
    let world = world(RegistrationMode::Open).await;
    let confirmed = world.confirmed(json!({ "type": "m.login.dummy" })).await;
    let quiet = RegistrationRequest {
        device: None,
        username: None,
        ..registration("")
    };
    let (user_id, login) = world.identity.register(quiet, confirmed).await.unwrap();
    assert!(login.is_none());
    world.identity.profile(&user_id).await.unwrap();
}

#[tokio::test]
async fn username_can_be_registered_once() {
    let world = world(RegistrationMode::Open).await;
    world.user("alice", "secret").await;
    assert!(matches!(
        world.identity.check_available("ALICE").await,
        Err(Error::UserInUse)
    ));
    let confirmed = world.confirmed(json!({ "type": "m.login.dummy" })).await;
    let again = world
        .identity
        .register(registration("alice"), confirmed)
        .await;
    assert!(matches!(again, Err(Error::UserInUse)));
    assert!(world.identity.check_available("bob").await.is_ok());
}

#[tokio::test]
async fn names_outside_the_grammar_are_refused() {
    let world = world(RegistrationMode::Open).await;
    for name in [
        "",
        "a b",
        "é",
        "a!",
        "a:b",
        "@a",
        "a\0",
        "_bridge",
        "a'",
        &"a".repeat(240),
    ] {
        let answer = world.identity.check_available(name).await;
        assert!(matches!(answer, Err(Error::InvalidUsername(_))), "{name}");
    }
    for name in ["q", "3", "a.b", "a_b", "a=b", "a-b", "a/b", "a+b"] {
        assert!(world.identity.check_available(name).await.is_ok(), "{name}");
    }
}

/// A registration token for one use, and the `auth` that has it.
async fn single_use_token(world: &World) -> (String, serde_json::Value) {
    let token = world
        .identity
        .create_registration_token(Some(1), None)
        .await
        .unwrap();
    let auth = json!({ "type": "m.login.registration_token", "token": token });
    (token, auth)
}

#[tokio::test]
async fn registration_token_has_a_limited_number_of_uses() {
    let world = world(RegistrationMode::Token).await;
    let (token, auth) = single_use_token(&world).await;
    let (first, second) = (
        world.confirmed(auth.clone()).await,
        world.confirmed(auth.clone()).await,
    );
    world
        .identity
        .register(registration("alice"), first)
        .await
        .unwrap();
    let late = world.identity.register(registration("bob"), second).await;
    assert!(matches!(late, Err(Error::InvalidRegistrationToken)));
    assert!(
        !world
            .identity
            .is_registration_token_valid(&token)
            .await
            .unwrap()
    );
    let error = world.incomplete(attempt(auth)).await.error;
    assert!(matches!(error, Some(Error::InvalidRegistrationToken)));
}

#[tokio::test]
async fn registration_token_expires() {
    let world = world(RegistrationMode::Token).await;
    let hour = Some(Duration::from_millis(HOUR));
    let token = world
        .identity
        .create_registration_token(None, hour)
        .await
        .unwrap();
    assert!(
        world
            .identity
            .is_registration_token_valid(&token)
            .await
            .unwrap()
    );
    world.clock.advance(HOUR);
    assert!(
        !world
            .identity
            .is_registration_token_valid(&token)
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn stage_of_no_flow_is_refused_and_the_session_stays_valid() {
    let world = world(RegistrationMode::Token).await;
    let first = world.incomplete(None).await;
    let dummy = json!({ "type": "m.login.dummy", "session": first.session });
    let second = world.incomplete(attempt(dummy)).await;
    assert!(matches!(second.error, Some(Error::UnexpectedStage)));
    assert_eq!(second.session, first.session);
    assert!(second.completed.is_empty());
}

#[tokio::test]
async fn session_is_valid_for_one_request_once() {
    let world = world(RegistrationMode::Open).await;
    let session = world.incomplete(None).await.session;
    let auth = json!({ "type": "m.login.dummy", "session": session });
    let flows = world.identity.registration_flows().unwrap();
    let other = Fingerprint::new("POST", "/_matrix/client/v3/elsewhere", b"{}");
    let moved = world
        .identity
        .confirm(flows, None, &other, attempt(auth.clone()))
        .await;
    assert!(matches!(moved, Err(Error::UiaRequestChanged)));
    world.confirmed(auth).await;
    let only_session = world
        .incomplete(attempt(json!({ "session": session })))
        .await;
    assert_ne!(only_session.session, session);
}

#[tokio::test]
async fn session_expires() {
    let world = world(RegistrationMode::Open).await;
    let session = world.incomplete(None).await.session;
    world.clock.advance(HOUR);
    let late = world
        .incomplete(attempt(json!({ "session": session })))
        .await;
    assert_ne!(late.session, session);
    world.identity.delete_expired().await.unwrap();
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn signed(nonce: &str, username: &str, is_admin: bool) -> SharedSecretRequest {
    let role = if is_admin { "admin" } else { "notadmin" };
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"complement");
    let text = [nonce, username, "secret", role].join("\0");
    let mac = hmac::sign(&key, text.as_bytes());
    SharedSecretRequest {
        nonce: nonce.to_owned(),
        username: username.to_owned(),
        display_name: None,
        password: Secret::new("secret"),
        is_admin,
        user_type: None,
        mac: hexadecimal(mac.as_ref()),
    }
}

#[tokio::test]
async fn shared_secret_creates_admins() {
    let world = world(RegistrationMode::Closed).await;
    let nonce = world.identity.registration_nonce().await.unwrap();
    let request = signed(&nonce, "Root", true);
    let login = world
        .identity
        .register_with_shared_secret(request)
        .await
        .unwrap();
    assert_eq!(login.user_id, "@root:test.localhost");
    assert!(world.active(&login).await.is_admin);
}

#[tokio::test]
async fn nonce_is_valid_once_and_for_a_minute() {
    let world = world(RegistrationMode::Closed).await;
    let nonce = world.identity.registration_nonce().await.unwrap();
    world
        .identity
        .register_with_shared_secret(signed(&nonce, "a", false))
        .await
        .unwrap();
    let again = world
        .identity
        .register_with_shared_secret(signed(&nonce, "b", false))
        .await;
    assert!(matches!(again, Err(Error::InvalidParam(_))));
    let nonce = world.identity.registration_nonce().await.unwrap();
    world.clock.advance(HOUR);
    let late = world
        .identity
        .register_with_shared_secret(signed(&nonce, "b", false))
        .await;
    assert!(matches!(late, Err(Error::InvalidParam(_))));
}

#[tokio::test]
async fn wrong_mac_is_refused() {
    let world = world(RegistrationMode::Closed).await;
    for spoil in ["", "zz", "00"] {
        let nonce = world.identity.registration_nonce().await.unwrap();
        let mut request = signed(&nonce, "mallory", false);
        request.mac = spoil.to_owned();
        let answer = world.identity.register_with_shared_secret(request).await;
        assert!(matches!(answer, Err(Error::SharedSecretRejected(_))));
    }
    let nonce = world.identity.registration_nonce().await.unwrap();
    let raised = SharedSecretRequest {
        is_admin: true,
        ..signed(&nonce, "mallory", false)
    };
    let answer = world.identity.register_with_shared_secret(raised).await;
    assert!(matches!(answer, Err(Error::SharedSecretRejected(_))));
}

#[tokio::test]
async fn of_concurrent_registrations_of_a_username_one_succeeds() {
    let world = world(RegistrationMode::Open).await;
    let one = world.confirmed(json!({ "type": "m.login.dummy" })).await;
    let two = world.confirmed(json!({ "type": "m.login.dummy" })).await;
    let (one, two) = tokio::join!(
        world.identity.register(registration("alice"), one),
        world.identity.register(registration("Alice"), two),
    );
    assert_eq!([one, two].iter().filter(|answer| answer.is_ok()).count(), 1);
}

#[tokio::test]
async fn of_concurrent_last_uses_of_a_registration_token_one_succeeds() {
    let world = world(RegistrationMode::Token).await;
    let (_, auth) = single_use_token(&world).await;
    let (one, two) = (
        world.confirmed(auth.clone()).await,
        world.confirmed(auth).await,
    );
    let (one, two) = tokio::join!(
        world.identity.register(registration("alice"), one),
        world.identity.register(registration("bob"), two),
    );
    assert_eq!([one, two].iter().filter(|answer| answer.is_ok()).count(), 1);
}
