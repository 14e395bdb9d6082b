//! User-interactive authentication: the caller proves once more who they are, for one request.
//!
//! Spec: client-server, "User-Interactive Authentication API". Sessions are in the database, so any
//! process can answer the next attempt.

mod attempt;

use std::time::Duration;

use ruma::UserId;
use storage::uia::UiaSession;
use types::random;

use crate::{Error, Identity, Result, tokens};

pub use attempt::{Attempt, Identifier};

/// How long a client may take from the first answer to the last stage.
const LIFETIME: Duration = Duration::from_mins(15);

/// A step of an authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// `m.login.dummy`: nothing is asked.
    Dummy,
    /// `m.login.password`: the caller's own password.
    Password,
    /// `m.login.registration_token`: a token that allows to register.
    RegistrationToken,
}

/// The only flow for whoever has an account.
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

/// What identifies a request, so that an authentication serves that request alone.
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

/// A completed authentication; functions that ask for one cannot be called without.
#[derive(Debug)]
pub struct Confirmed {
    registration_token: Option<String>,
}

impl Confirmed {
    /// The registration token that was presented and is still to be counted.
    pub(crate) fn registration_token(&self) -> Option<&str> {
        self.registration_token.as_deref()
    }
}

/// What the client still has to do.
#[derive(Debug)]
pub struct Challenge {
    /// The session that the client repeats in its next attempt.
    pub session: String,
    /// The ways to authenticate, each a list of stages that must all be completed in order.
    pub flows: &'static [&'static [Stage]],
    /// The names of the stages completed so far.
    pub completed: Vec<String>,
    /// Why the attempt just made was refused.
    pub refused: Option<Error>,
}

/// How an attempt ends.
#[derive(Debug)]
pub enum Verdict {
    /// The request may be carried out, once.
    Confirmed(Confirmed),
    /// The client must do more.
    Challenged(Challenge),
}

impl Identity {
    /// Takes one attempt at the authentication of a request.
    pub async fn confirm(
        &self,
        flows: &'static [&'static [Stage]],
        caller: Option<&UserId>,
        request: &Fingerprint,
        attempt: Option<Attempt>,
    ) -> Result<Verdict> {
        let fingerprint = request.of_caller(caller);
        let (mut session, is_new) = self.open_session(fingerprint, attempt.as_ref()).await?;
        let refused = match attempt {
            Some(attempt) => {
                self.advance(flows, caller, &mut session, attempt, is_new)
                    .await?
            }
            None => None,
        };
        if is_complete(flows, &session.completed) && self.close_session(&session, is_new).await? {
            let registration_token = session.registration_token;
            return Ok(Verdict::Confirmed(Confirmed { registration_token }));
        }
        if is_new {
            let mut db = self.0.database.acquire().await?;
            storage::uia::insert(&mut db, &session, self.after(LIFETIME)).await?;
        }
        Ok(Verdict::Challenged(Challenge {
            session: session.session_id,
            flows,
            completed: session.completed,
            refused,
        }))
    }

    /// The session that the attempt names, or a new one, which is not stored yet.
    ///
    /// An expired session is as good as none: what the attempt proves is proved anew.
    async fn open_session(
        &self,
        fingerprint: Vec<u8>,
        attempt: Option<&Attempt>,
    ) -> Result<(UiaSession, bool)> {
        let named = attempt.and_then(|attempt| attempt.session.as_deref());
        if let Some(session_id) = named.filter(|session_id| !session_id.contains('\0')) {
            let mut db = self.0.database.acquire().await?;
            if let Some(session) = storage::uia::find(&mut db, session_id, self.now()).await? {
                if session.fingerprint != fingerprint {
                    return Err(Error::RequestChanged);
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

    /// Verifies the stage that is attempted and notes its completion; returns why it was refused.
    async fn advance(
        &self,
        flows: &[&[Stage]],
        caller: Option<&UserId>,
        session: &mut UiaSession,
        attempt: Attempt,
        is_new: bool,
    ) -> Result<Option<Error>> {
        let Some(name) = attempt.stage.clone() else {
            return Ok(None);
        };
        // Completed stages cannot be retried.
        if session.completed.contains(&name) {
            return Ok(None);
        }
        let Some(stage) = expected(flows, &session.completed, &name) else {
            return Ok(Some(Error::UnexpectedStage));
        };
        if let Some(refused) = self.verify(stage, caller, &attempt).await? {
            return Ok(Some(refused));
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

    /// Why the attempt does not complete the stage, if it does not.
    async fn verify(
        &self,
        stage: Stage,
        caller: Option<&UserId>,
        attempt: &Attempt,
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
                let named = attempt.user().map(|name| self.named_user(name));
                if named.is_some_and(|named| named.as_deref() != caller) {
                    return Err(Error::OtherUser);
                }
                let fits = match caller {
                    Some(caller) => self.is_password(caller, password).await?,
                    None => false,
                };
                Ok((!fits).then_some(Error::WrongCredentials))
            }
        }
    }

    /// Ends the session, so that it confirms one request only.
    async fn close_session(&self, session: &UiaSession, is_new: bool) -> Result<bool> {
        if is_new {
            return Ok(true);
        }
        let mut db = self.0.database.acquire().await?;
        Ok(storage::uia::delete(&mut db, &session.session_id).await?)
    }
}

/// The stage of that name, if it is the next one of a flow that begins with what is completed.
fn expected(flows: &[&[Stage]], completed: &[String], name: &str) -> Option<Stage> {
    let open = flows.iter().filter(|flow| begins_with(flow, completed));
    open.filter_map(|flow| flow.get(completed.len()))
        .find(|stage| stage.as_str() == name)
        .copied()
}

fn is_complete(flows: &[&[Stage]], completed: &[String]) -> bool {
    flows
        .iter()
        .any(|flow| flow.len() == completed.len() && begins_with(flow, completed))
}

fn begins_with(flow: &[Stage], completed: &[String]) -> bool {
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
        assert_eq!(expected(TWO, &[], "m.login.dummy"), None);
        assert_eq!(
            expected(TWO, &[], "m.login.password"),
            Some(Stage::Password)
        );
        assert_eq!(expected(TWO, &token, "m.login.dummy"), Some(Stage::Dummy));
        assert_eq!(expected(TWO, &token, "m.login.password"), None);
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
    fn fingerprint_tells_requests_and_callers_apart() {
        let one = Fingerprint::new("POST", "/a", b"{}");
        assert_ne!(one, Fingerprint::new("POST", "/a", b"{\"x\":1}"));
        assert_ne!(one, Fingerprint::new("POST", "/a{", b"}"));
        let alice = ruma::user_id!("@alice:a.org");
        assert_ne!(one.of_caller(None), one.of_caller(Some(alice)));
    }
}
