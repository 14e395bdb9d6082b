//! Requests that ask for user-interactive authentication: the `auth` field is read apart from the rest.

use http::Method;
use identity::{
    ActiveUser,
    uia::{Attempt, Confirmed, Fingerprint, PASSWORD, Verdict},
};
use ruma::api::{IncomingRequest, Metadata, error::DeserializationError};
use serde_json::{Map, Value};

use crate::{App, Challenge, Result};

/// A typed request and the attempt to authenticate it.
pub(crate) struct Interactive<R> {
    /// The request without its `auth` field.
    pub(crate) request: R,
    /// The attempt.
    pub(crate) interaction: Interaction,
}

/// An attempt to authenticate one request.
pub(crate) struct Interaction {
    attempt: Option<Attempt>,
    with_body: Fingerprint,
    without_body: Fingerprint,
}

impl<R> Interactive<R> {
    /// Asks for the password of the caller and hands out the request.
    pub(crate) async fn confirm(self, app: &App, user: &ActiveUser) -> Result<(R, Confirmed)> {
        let confirmed = self.interaction.confirm(app, user).await?;
        Ok((self.request, confirmed))
    }
}

impl Interaction {
    /// Asks for the password of the caller.
    pub(crate) async fn confirm(self, app: &App, user: &ActiveUser) -> Result<Confirmed> {
        let caller = Some(&*user.user_id);
        let verdict = app
            .identity
            .confirm(PASSWORD, caller, &self.with_body, self.attempt);
        decided(verdict.await?)
    }

    /// Asks whoever wants to register for what the configuration says.
    pub(crate) async fn confirm_registration(self, app: &App) -> Result<Confirmed> {
        let flows = app.identity.registration_flows()?;
        // Clients ask for the flows with an empty body before the form is filled in. Nobody can
        // be harmed by what the form says, so the session need not be bound to it.
        let verdict = app
            .identity
            .confirm(flows, None, &self.without_body, self.attempt);
        decided(verdict.await?)
    }
}

fn decided(verdict: Verdict) -> Result<Confirmed> {
    match verdict {
        Verdict::Confirmed(confirmed) => Ok(confirmed),
        Verdict::Challenged(challenge) => Err(Challenge::from(challenge).into()),
    }
}

impl<R: Metadata> Metadata for Interactive<R> {
    const METHOD: Method = R::METHOD;
    const RATE_LIMITED: bool = R::RATE_LIMITED;
    type Authentication = R::Authentication;
    type PathBuilder = R::PathBuilder;
    const PATH_BUILDER: R::PathBuilder = R::PATH_BUILDER;
}

impl<R: IncomingRequest> IncomingRequest for Interactive<R> {
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
        let interaction = Interaction {
            attempt,
            with_body: Fingerprint::new(method, path, &rest),
            without_body: Fingerprint::new(method, path, &[]),
        };
        let request = http::Request::from_parts(head, &*rest);
        let request = R::try_from_http_request_inner(request, path_args)?;
        Ok(Self {
            request,
            interaction,
        })
    }
}
