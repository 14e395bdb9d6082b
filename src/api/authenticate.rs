//! Who may call: each endpoint's kind of authentication, and the caller it yields as a type.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr},
};

use http::{header, request::Parts};
use identity::ActiveUser;
use ruma::{
    UserId,
    api::auth_scheme::{
        AccessToken, AccessTokenOptional, AppserviceTokenOptional, AuthScheme, NoAccessToken,
        NoAuthentication,
    },
};
use serde::Deserialize;
use types::ErrorKind;

use crate::{
    error::{Error, Result},
    limits::Limits,
};

/// What the plumbing asks before a handler runs.
pub trait Gate: Clone + Send + Sync + 'static {
    /// The user that an access token stands for, who calls from this address; or 401.
    fn active_user(
        &self,
        token: &str,
        address: IpAddr,
    ) -> impl Future<Output = Result<ActiveUser>> + Send;

    /// How often one user or address may call.
    fn limits(&self) -> &Limits;

    /// The largest body, in bytes, that a caller who is known may send.
    fn max_body(&self) -> usize;
}

/// The address that a request came from, put into the request's extensions by the listener.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

/// A kind of authentication that an endpoint asks for, and the caller it yields.
pub trait Authenticate: AuthScheme {
    /// What a handler learns about the caller.
    type Caller: Caller + Send + 'static;

    /// Whether everybody on the network may send a body here.
    const OPEN: bool;

    /// Checks the request's credentials.
    fn authenticate<G: Gate>(
        gate: &G,
        head: &Parts,
    ) -> impl Future<Output = Result<Self::Caller>> + Send;
}

/// A caller, as far as rate limits want to know it.
pub trait Caller {
    /// The user, if the endpoint knows one.
    fn user_id(&self) -> Option<&UserId>;
}

impl Caller for () {
    fn user_id(&self) -> Option<&UserId> {
        None
    }
}

impl Caller for ActiveUser {
    fn user_id(&self) -> Option<&UserId> {
        Some(&self.user_id)
    }
}

impl Caller for Option<ActiveUser> {
    fn user_id(&self) -> Option<&UserId> {
        self.as_ref().map(|user| &*user.user_id)
    }
}

impl Authenticate for AccessToken {
    type Caller = ActiveUser;
    const OPEN: bool = false;

    async fn authenticate<G: Gate>(gate: &G, head: &Parts) -> Result<ActiveUser> {
        active_user(gate, head).await
    }
}

impl Authenticate for AccessTokenOptional {
    type Caller = Option<ActiveUser>;
    const OPEN: bool = true;

    async fn authenticate<G: Gate>(gate: &G, head: &Parts) -> Result<Option<ActiveUser>> {
        match token(head)? {
            Some(token) => gate.active_user(&token, address(head)).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Schemes that ask nothing of the caller: a token sent along is not looked at.
macro_rules! anybody {
    ($($scheme:ty),*) => {$(
        impl Authenticate for $scheme {
            type Caller = ();
            const OPEN: bool = true;

            async fn authenticate<G: Gate>(_: &G, _: &Parts) -> Result<()> {
                Ok(())
            }
        }
    )*};
}
anybody!(NoAuthentication, NoAccessToken, AppserviceTokenOptional);

/// The user that a request's access token stands for, for endpoints without a typed request.
pub async fn active_user<G: Gate>(gate: &G, head: &Parts) -> Result<ActiveUser> {
    let token =
        token(head)?.ok_or_else(|| Error::new(ErrorKind::MissingToken, "Missing access token"))?;
    gate.active_user(&token, address(head)).await
}

/// Where a request came from; the listener says so.
pub fn address(head: &Parts) -> IpAddr {
    head.extensions.get::<ClientAddress>().map_or(
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        |ClientAddress(address)| *address,
    )
}

/// The access token of the `Authorization` header or of the query.
///
/// Spec: client-server, "Using access tokens".
fn token(head: &Parts) -> Result<Option<Cow<'_, str>>> {
    let Some(credentials) = head.headers.get(header::AUTHORIZATION) else {
        return Ok(token_in_query(head.uri.query().unwrap_or_default()).map(Cow::Owned));
    };
    let bearer = credentials
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '));
    match bearer {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(Some(Cow::Borrowed(token.trim())))
        }
        _ => Err(Error::new(
            ErrorKind::MissingToken,
            "The credentials are not a bearer token",
        )),
    }
}

fn token_in_query(query: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Query {
        access_token: Option<String>,
    }
    if !query.contains("access_token") {
        return None;
    }
    serde_html_form::from_str::<Query>(query).ok()?.access_token
}
