//! Authentication schemes of endpoints, and the caller type of each.

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

/// What request handling needs of the router state before a handler runs.
pub trait ApiState: Clone + Send + Sync + 'static {
    /// The user of an access token, calling from this address; or 401.
    fn active_user(
        &self,
        token: &str,
        address: IpAddr,
    ) -> impl Future<Output = Result<ActiveUser>> + Send;

    /// The rate limits.
    fn limits(&self) -> &Limits;

    /// The largest request body of an authenticated caller, in bytes.
    fn max_body(&self) -> usize;
}

/// The client's address, a request extension set by the listener.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

/// An endpoint's authentication scheme and the caller type that it yields.
pub trait Authenticate: AuthScheme {
    /// The caller type.
    type Caller: Caller + Send + 'static;

    /// Whether requests without credentials are accepted.
    const ALLOWS_ANONYMOUS: bool;

    /// Checks the request's credentials.
    fn authenticate<S: ApiState>(
        state: &S,
        head: &Parts,
    ) -> impl Future<Output = Result<Self::Caller>> + Send;
}

/// A caller, as rate limits need it.
pub trait Caller {
    /// The user, if there is one.
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
    const ALLOWS_ANONYMOUS: bool = false;

    async fn authenticate<S: ApiState>(state: &S, head: &Parts) -> Result<ActiveUser> {
        active_user(state, head).await
    }
}

impl Authenticate for AccessTokenOptional {
    type Caller = Option<ActiveUser>;
    const ALLOWS_ANONYMOUS: bool = true;

    async fn authenticate<S: ApiState>(state: &S, head: &Parts) -> Result<Option<ActiveUser>> {
        match token(head)? {
            Some(token) => state.active_user(&token, address(head)).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Schemes without authentication: an access token is ignored.
macro_rules! unauthenticated {
    ($($scheme:ty),*) => {$(
        impl Authenticate for $scheme {
            type Caller = ();
            const ALLOWS_ANONYMOUS: bool = true;

            async fn authenticate<S: ApiState>(_: &S, _: &Parts) -> Result<()> {
                Ok(())
            }
        }
    )*};
}
unauthenticated!(NoAuthentication, NoAccessToken, AppserviceTokenOptional);

/// The user of a request's access token, for endpoints without a typed request.
pub async fn active_user<S: ApiState>(state: &S, head: &Parts) -> Result<ActiveUser> {
    let token =
        token(head)?.ok_or_else(|| Error::new(ErrorKind::MissingToken, "Missing access token"))?;
    state.active_user(&token, address(head)).await
}

/// The client's address, as set by the listener.
pub fn address(head: &Parts) -> IpAddr {
    head.extensions.get::<ClientAddress>().map_or(
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        |ClientAddress(address)| *address,
    )
}

/// The access token of the `Authorization` header or the query.
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
