//! The body of a login, read leniently: ruma's own type panics on a body without a `type`.

use http::Method;
use identity::{Error, LoginCredentials, uia::Identifier};
use ruma::{
    OwnedDeviceId,
    api::{
        IncomingRequest, Metadata,
        client::session::login::v3::{Request as Typed, Response},
        error::DeserializationError,
    },
};
use serde::Deserialize;
use types::Secret;

/// `POST /login`.
#[derive(Deserialize)]
pub(crate) struct Request {
    #[serde(rename = "type")]
    login_type: Option<String>,
    identifier: Option<Identifier>,
    /// The user, as legacy clients send it.
    user: Option<String>,
    password: Option<Secret>,
    token: Option<Secret>,
    pub(super) device_id: Option<OwnedDeviceId>,
    pub(super) initial_device_display_name: Option<String>,
    #[serde(default)]
    pub(super) refresh_token: bool,
}

impl Request {
    /// The credentials.
    pub(super) fn credentials(self) -> Result<LoginCredentials, Error> {
        match self.login_type.as_deref() {
            Some("m.login.password") => Ok(LoginCredentials::Password {
                user: self.parse_user()?,
                password: self.password.ok_or(Error::MissingParam("password"))?,
            }),
            Some("m.login.token") => {
                let token = self.token.ok_or(Error::MissingParam("token"))?;
                Ok(LoginCredentials::Token(token))
            }
            Some(_) => Err(Error::UnknownLoginType),
            None => Err(Error::MissingParam("type")),
        }
    }

    fn parse_user(&self) -> Result<String, Error> {
        let name = match &self.identifier {
            Some(identifier) => identifier.user().ok_or(Error::UnknownLoginType)?,
            None => self
                .user
                .as_deref()
                .ok_or(Error::MissingParam("identifier"))?,
        };
        Ok(name.to_owned())
    }
}

impl Metadata for Request {
    const METHOD: Method = Typed::METHOD;
    const RATE_LIMITED: bool = Typed::RATE_LIMITED;
    type Authentication = <Typed as Metadata>::Authentication;
    type PathBuilder = <Typed as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = Typed::PATH_BUILDER;
}

impl IncomingRequest for Request {
    type EndpointError = <Typed as IncomingRequest>::EndpointError;
    type OutgoingResponse = Response;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        _: &[&str],
    ) -> Result<Self, DeserializationError> {
        let body = match *request.body() {
            [] => b"{}",
            body => body,
        };
        Ok(serde_json::from_slice(body)?)
    }
}
