//! User-interactive authentication (UIA) of single requests.
//!
//! Spec: client-server, "User-Interactive Authentication API". Sessions are stored in the database,
//! so any process can handle the next attempt.

mod auth_data;

use std::time::Duration;

use ruma::UserId;
use storage::uia::UiaSession;
use types::random;

use crate::{Error, Identity, Result, tokens};

pub use auth_data::{AuthData, Identifier};

/// The lifetime of a UIA session.
const LIFETIME: Duration = Duration::from_mins(15);

/// A stage of an authentication flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// `m.login.dummy`: always succeeds.
    Dummy,
    /// `m.login.password`: the caller's own password.
    Password,
    /// `m.login.registration_token`: a registration token.
    RegistrationToken,
}

/// The flows for users with an account.
pub const PASSWORD: &[&[Stage]] = &[&[Stage::Password]];

impl Stage {
    /// The name in the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dummy => "m.login.dummy",
            Self::Password => "m.login.password",
            Self::RegistrationToken => "m.login.registration_token",
        }
    }
}

/// Identifies a request, so that a UIA session is valid for that request only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of the method, the path and the body without its `auth` field.
    pub fn new(method: &str, path: &str, body: &[u8]) -> Self {
        let parts = [method.as_bytes(), path.as_bytes(), body];
        Self(tokens::sha256_of_parts(&parts))
    }

    fn of_caller(&self, caller: Option<&UserId>) -> Vec<u8> {
        let caller = caller.map_or("", UserId::as_str);
        tokens::sha256_of_parts(&[caller.as_bytes(), &self.0]).to_vec()
    }
}

/// Evidence of a completed authentication, required by the functions that need one.
#[derive(Debug)]
pub struct Confirmed {
    registration_token: Option<String>,
}

impl Confirmed {
    /// The registration token that was presented, whose use is not yet counted.
    pub(crate) fn registration_token(&self) -> Option<&str> {
        self.registration_token.as_deref()
    }
}

/// The state of an authentication that is not complete.
#[derive(Debug)]
pub struct IncompleteUia {
    /// The session that the client repeats in its next attempt.
    pub session: String,
    /// The flows, each a list of stages to complete in order.
    pub flows: &'static [&'static [Stage]],
    /// The names of the stages completed so far.
    pub completed: Vec<String>,
    /// Why the last attempt failed.
    pub error: Option<Error>,
}

/// The result of an attempt.
#[derive(Debug)]
pub enum UiaStatus {
    /// The request is authenticated, once.
    Complete(Confirmed),
    /// More stages are needed.
    Incomplete(IncompleteUia),
}

impl Identity {
    /// Handles one authentication attempt for a request.
    pub async fn confirm(
        &self,
        flows: &'static [&'static [Stage]],
        caller: Option<&UserId>,
        request: &Fingerprint,
        attempt: Option<AuthData>,
    ) -> Result<UiaStatus> {
        let fingerprint = request.of_caller(caller);
        let (mut session, is_new) = self.open_session(fingerprint, attempt.as_ref()).await?;
        let error = match attempt {
            Some(attempt) => {
                self.attempt_stage(flows, caller, &mut session, attempt, is_new)
                    .await?
            }
            None => None,
        };
        if is_complete(flows, &session.completed) && self.close_session(&session, is_new).await? {
            let registration_token = session.registration_token;
            return Ok(UiaStatus::Complete(Confirmed { registration_token }));
        }
        if is_new {
            let mut db = self.0.database.acquire().await?;
            storage::uia::insert(&mut db, &session, self.after(LIFETIME)).await?;
        }
        Ok(UiaStatus::Incomplete(IncompleteUia {
            session: session.session_id,
            flows,
            completed: session.completed,
            error,
        }))
    }

    /// The session that the attempt names, or a new one that is not stored yet.
    ///
    /// An expired session is treated as unknown.
    async fn open_session(
        &self,
        fingerprint: Vec<u8>,
        attempt: Option<&AuthData>,
    ) -> Result<(UiaSession, bool)> {
        let named = attempt.and_then(|attempt| attempt.session.as_deref());
        if let Some(session_id) = named.filter(|session_id| !session_id.contains('\0')) {
            let mut db = self.0.database.acquire().await?;
            if let Some(session) = storage::uia::find(&mut db, session_id, self.now()).await? {
                if session.fingerprint != fingerprint {
                    return Err(Error::UiaRequestChanged);
                }
                return Ok((session, false));
            }
        }
        let session = UiaSession {
            session_id: random::token()?,
            fingerprint,
            completed: Vec::new(),
            registration_token: None,
        };
        Ok((session, true))
    }

    /// Verifies the attempted stage and records its completion; returns why it failed, if it did.
    async fn attempt_stage(
        &self,
        flows: &[&[Stage]],
        caller: Option<&UserId>,
        session: &mut UiaSession,
        attempt: AuthData,
        is_new: bool,
    ) -> Result<Option<Error>> {
        let Some(name) = attempt.stage.clone() else {
            return Ok(None);
        };
        // Completed stages cannot be retried.
        if session.completed.contains(&name) {
            return Ok(None);
        }
        let Some(stage) = next_stage(flows, &session.completed, &name) else {
            return Ok(Some(Error::UnexpectedStage));
        };
        if let Some(error) = self.verify_stage(stage, caller, &attempt).await? {
            return Ok(Some(error));
        }
        if stage == Stage::RegistrationToken {
            session.registration_token = attempt.token.map(|token| token.expose().to_owned());
        }
        session.completed.push(name.clone());
        if !is_new {
            let token = session.registration_token.as_deref();
            let mut db = self.0.database.acquire().await?;
            storage::uia::complete(&mut db, &session.session_id, &name, token).await?;
        }
        Ok(None)
    }

    /// Returns why the attempt does not complete the stage, if it does not.
    async fn verify_stage(
        &self,
        stage: Stage,
        caller: Option<&UserId>,
        attempt: &AuthData,
    ) -> Result<Option<Error>> {
        match stage {
            Stage::Dummy => Ok(None),
            Stage::RegistrationToken => {
                let token = attempt.token.as_ref().ok_or(Error::MissingParam("token"))?;
                let valid = self.is_registration_token_valid(token.expose()).await?;
                Ok((!valid).then_some(Error::InvalidRegistrationToken))
            }
            Stage::Password => {
                let password = attempt
                    .password
                    .clone()
                    .ok_or(Error::MissingParam("password"))?;
                let named = attempt.user().map(|name| self.parse_user(name));
                if named.is_some_and(|named| named.as_deref() != caller) {
                    return Err(Error::UiaUserMismatch);
                }
                let is_valid = match caller {
                    Some(caller) => self.is_password(caller, password).await?,
                    None => false,
                };
                Ok((!is_valid).then_some(Error::InvalidCredentials))
            }
        }
    }

    /// Deletes the session, so that it authenticates one request only.
    async fn close_session(&self, session: &UiaSession, is_new: bool) -> Result<bool> {
        if is_new {
            return Ok(true);
        }
        let mut db = self.0.database.acquire().await?;
        Ok(storage::uia::delete(&mut db, &session.session_id).await?)
    }
}

/// The stage of that name, if it is the next one of a flow that starts with the completed stages.
fn next_stage(flows: &[&[Stage]], completed: &[String], name: &str) -> Option<Stage> {
    let candidates = flows.iter().filter(|flow| has_prefix(flow, completed));
    candidates
        .filter_map(|flow| flow.get(completed.len()))
        .find(|stage| stage.as_str() == name)
        .copied()
}

fn is_complete(flows: &[&[Stage]], completed: &[String]) -> bool {
    flows
        .iter()
        .any(|flow| flow.len() == completed.len() && has_prefix(flow, completed))
}

fn has_prefix(flow: &[Stage], completed: &[String]) -> bool {
    completed.len() <= flow.len()
        && flow
            .iter()
            .zip(completed)
            .all(|(stage, name)| stage.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[&[Stage]] = &[
        &[Stage::RegistrationToken, Stage::Dummy],
        &[Stage::Password],
    ];

    #[test]
    fn stages_are_expected_in_order() {
        let token = vec![Stage::RegistrationToken.as_str().to_owned()];
        assert_eq!(next_stage(TWO, &[], "m.login.dummy"), None);
        assert_eq!(
            next_stage(TWO, &[], "m.login.password"),
            Some(Stage::Password)
        );
        assert_eq!(next_stage(TWO, &token, "m.login.dummy"), Some(Stage::Dummy));
        assert_eq!(next_stage(TWO, &token, "m.login.password"), None);
    }

    #[test]
    fn flow_is_complete_with_its_last_stage() {
        let token = vec![Stage::RegistrationToken.as_str().to_owned()];
        let both = vec![token[0].clone(), Stage::Dummy.as_str().to_owned()];
        assert!(!is_complete(TWO, &[]));
        assert!(!is_complete(TWO, &token));
        assert!(is_complete(TWO, &both));
    }

    #[test]
    fn fingerprint_depends_on_request_and_caller() {
        let one = Fingerprint::new("POST", "/a", b"{}");
        assert_ne!(one, Fingerprint::new("POST", "/a", b"{\"x\":1}"));
        assert_ne!(one, Fingerprint::new("POST", "/a{", b"}"));
        let alice = ruma::user_id!("@alice:a.org");
        assert_ne!(one.of_caller(None), one.of_caller(Some(alice)));
    }
}
