//! Authentication schemes of endpoints, and the caller type of each.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr},
};

use bytes::Bytes;
use federation::Credentials;
use http::{header, request::Parts};
use identity::Caller;
use ruma::api::{
    auth_scheme::{
        AccessToken, AccessTokenOptional, AppserviceTokenOptional, AuthScheme, NoAccessToken,
        NoAuthentication,
    },
    federation::authentication::ServerSignatures,
};
use serde::Deserialize;
use types::ErrorKind;

use crate::{
    error::{Error, Result},
    limits::Limits,
};

/// What request handling needs of the router state before a handler runs.
pub trait ApiState: Clone + Send + Sync + 'static {
    /// The caller with an access token, from this address; or 401.
    fn caller(&self, token: &str, address: IpAddr) -> impl Future<Output = Result<Caller>> + Send;

    /// The credentials of another server's request, of one that may call this server; the signature is not verified yet.
    fn credentials(&self, head: &Parts) -> Result<Credentials>;

    /// Verifies that the origin has signed a request.
    fn verify_signature(
        &self,
        credentials: &Credentials,
        head: &Parts,
        body: &Bytes,
    ) -> impl Future<Output = Result<()>> + Send;

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
    type Caller: MaybeCaller + Send + 'static;

    /// Whether requests without credentials are accepted.
    const ALLOWS_ANONYMOUS: bool;

    /// Checks the request's credentials, before its body is read.
    fn authenticate<S: ApiState>(
        state: &S,
        head: &Parts,
    ) -> impl Future<Output = Result<Self::Caller>> + Send;

    /// Checks what needs the body, too: a signature.
    fn verify<S: ApiState>(
        _state: &S,
        _caller: &Self::Caller,
        _head: &Parts,
        _body: &Bytes,
    ) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

/// The caller that an authentication scheme yields, if there is one.
pub trait MaybeCaller {
    /// The caller.
    fn caller(&self) -> Option<&Caller>;
}

impl MaybeCaller for () {
    fn caller(&self) -> Option<&Caller> {
        None
    }
}

impl MaybeCaller for Caller {
    fn caller(&self) -> Option<&Caller> {
        Some(self)
    }
}

impl MaybeCaller for Option<Caller> {
    fn caller(&self) -> Option<&Caller> {
        self.as_ref()
    }
}

impl Authenticate for AccessToken {
    type Caller = Caller;
    const ALLOWS_ANONYMOUS: bool = false;

    async fn authenticate<S: ApiState>(state: &S, head: &Parts) -> Result<Caller> {
        caller(state, head).await
    }
}

impl Authenticate for AccessTokenOptional {
    type Caller = Option<Caller>;
    const ALLOWS_ANONYMOUS: bool = true;

    async fn authenticate<S: ApiState>(state: &S, head: &Parts) -> Result<Option<Caller>> {
        match token(head)? {
            Some(token) => state.caller(&token, address(head)).await.map(Some),
            None => Ok(None),
        }
    }
}

impl MaybeCaller for Credentials {
    fn caller(&self) -> Option<&Caller> {
        None
    }
}

/// Requests of other servers, which the federation policy must allow.
impl Authenticate for ServerSignatures {
    type Caller = Credentials;
    const ALLOWS_ANONYMOUS: bool = false;

    async fn authenticate<S: ApiState>(state: &S, head: &Parts) -> Result<Credentials> {
        state.credentials(head)
    }

    async fn verify<S: ApiState>(
        state: &S,
        credentials: &Credentials,
        head: &Parts,
        body: &Bytes,
    ) -> Result<()> {
        state.verify_signature(credentials, head, body).await
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

/// The caller with a request's access token, for endpoints without a typed request.
pub async fn caller<S: ApiState>(state: &S, head: &Parts) -> Result<Caller> {
    let token =
        token(head)?.ok_or_else(|| Error::new(ErrorKind::MissingToken, "Missing access token"))?;
    state.caller(&token, address(head)).await
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
