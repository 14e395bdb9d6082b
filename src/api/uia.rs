//! Requests with user-interactive authentication: the `auth` field is split from the rest.

use http::Method;
use identity::{
    Caller,
    uia::{AuthData, Confirmed, Fingerprint, PASSWORD, UiaStatus},
};
use ruma::api::{IncomingRequest, Metadata, error::DeserializationError};
use serde_json::{Map, Value};

use crate::{App, Result, UiaResponse};

/// A typed request and its authentication attempt.
pub(crate) struct UiaRequest<R> {
    /// The request without its `auth` field.
    pub(crate) request: R,
    /// The authentication attempt.
    pub(crate) attempt: UiaAttempt,
}

/// An authentication attempt for one request.
pub(crate) struct UiaAttempt {
    attempt: Option<AuthData>,
    with_body: Fingerprint,
    without_body: Fingerprint,
}

impl<R> UiaRequest<R> {
    /// Requires the caller's password and returns the request.
    pub(crate) async fn confirm(self, app: &App, caller: &Caller) -> Result<(R, Confirmed)> {
        let confirmed = self.attempt.confirm(app, caller).await?;
        Ok((self.request, confirmed))
    }
}

impl UiaAttempt {
    /// Requires the caller's password.
    pub(crate) async fn confirm(self, app: &App, caller: &Caller) -> Result<Confirmed> {
        let caller = Some(&*caller.session()?.user_id);
        let status = app
            .identity
            .confirm(PASSWORD, caller, &self.with_body, self.attempt);
        into_confirmed(status.await?)
    }

    /// Requires the configured registration flow.
    pub(crate) async fn confirm_registration(self, app: &App) -> Result<Confirmed> {
        let flows = app.identity.registration_flows()?;
        // Clients request the flows with an empty body before the form is filled in. The form's
        // content is harmless, so the session need not be bound to it.
        let status = app
            .identity
            .confirm(flows, None, &self.without_body, self.attempt);
        into_confirmed(status.await?)
    }
}

fn into_confirmed(status: UiaStatus) -> Result<Confirmed> {
    match status {
        UiaStatus::Complete(confirmed) => Ok(confirmed),
        UiaStatus::Incomplete(incomplete) => Err(UiaResponse::from(incomplete).into()),
    }
}

impl<R: Metadata> Metadata for UiaRequest<R> {
    const METHOD: Method = R::METHOD;
    const RATE_LIMITED: bool = R::RATE_LIMITED;
    type Authentication = R::Authentication;
    type PathBuilder = R::PathBuilder;
    const PATH_BUILDER: R::PathBuilder = R::PATH_BUILDER;
}

impl<R: IncomingRequest> IncomingRequest for UiaRequest<R> {
    type EndpointError = R::EndpointError;
    type OutgoingResponse = R::OutgoingResponse;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let (head, body) = request.into_parts();
        let mut fields: Map<String, Value> = match body {
            [] => Map::new(),
            body => serde_json::from_slice(body)?,
        };
        let auth = fields.remove("auth").unwrap_or_default();
        let attempt = serde_json::from_value(auth)?;
        let rest = serde_json::to_vec(&fields)?;
        let (method, path) = (head.method.as_str(), head.uri.path());
        let attempt = UiaAttempt {
            attempt,
            with_body: Fingerprint::new(method, path, &rest),
            without_body: Fingerprint::new(method, path, &[]),
        };
        let request = http::Request::from_parts(head, &*rest);
        let request = R::try_from_http_request_inner(request, path_args)?;
        Ok(Self { request, attempt })
    }
}
