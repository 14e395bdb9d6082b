//! One extractor and one responder for every endpoint that ruma has a type for.

use std::net::IpAddr;

use axum::{
    extract::{FromRequestParts, RawPathParams, Request},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, request::Parts};
use ruma::api::{
    IncomingRequest, IncomingRequestExt, Metadata, OutgoingResponse, OutgoingResponseExt,
    error::{DeserializationError, FromHttpRequestError},
};
use types::ErrorKind;

use crate::{
    authenticate::{Authenticate, Caller as _, Gate, address},
    error::{Error, Result},
    json::{self, RawJson},
    limits::Class,
};

/// The largest body that is read from anybody.
const MAX_OPEN_BODY: usize = 128 * 1024;

/// What a request leaves to its path: arguments and a query parameter that the typed request needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fixed<'a> {
    /// Path arguments that come after those in the path.
    pub arguments: &'a [&'a str],
    /// The name and value of a query parameter, for requests that do not give it.
    pub query: Option<(&'a str, &'a str)>,
}

/// The caller that an endpoint's kind of authentication yields.
pub(crate) type CallerOf<R> = <<R as Metadata>::Authentication as Authenticate>::Caller;

/// A request that has been authenticated, bounded and decoded.
pub struct Matrix<R: Metadata<Authentication: Authenticate>> {
    /// The request as ruma types it.
    pub request: R,
    /// Who calls: `ActiveUser`, `Option<ActiveUser>` or nobody, as the endpoint has it.
    pub caller: CallerOf<R>,
    /// The body as it was sent.
    pub body: Bytes,
    /// Where the request came from.
    pub address: IpAddr,
}

/// What a handler may answer with: ruma's response, or JSON text written by hand.
pub trait Answer {
    /// The answer over HTTP.
    fn into_answer(self) -> Response;
}

impl<T: OutgoingResponse> Answer for T {
    fn into_answer(self) -> Response {
        match self.try_into_http_response::<BytesMut>() {
            Ok(response) => response.map(BytesMut::freeze).map(axum::body::Body::from),
            Err(error) => json::unwritable(&error),
        }
    }
}

impl Answer for RawJson {
    fn into_answer(self) -> Response {
        self.into_response()
    }
}

/// The answer that a handler's result makes.
pub(crate) fn respond<A: Answer>(result: Result<A>) -> Response {
    match result {
        Ok(answer) => answer.into_answer(),
        Err(error) => error.into_response(),
    }
}

impl<R> Matrix<R>
where
    R: IncomingRequest + Metadata<Authentication: Authenticate>,
{
    /// Authenticates, limits, bounds and decodes a request, in this order.
    pub(crate) async fn receive<G: Gate>(
        gate: &G,
        request: Request,
        class: Option<Class>,
        fixed: Fixed<'_>,
    ) -> Result<Self> {
        let (mut head, body) = request.into_parts();
        let params = path_params(&mut head).await?;
        let caller = R::Authentication::authenticate(gate, &head).await?;
        let address = address(&head);
        if let Some(class) = class {
            gate.limits().take(class, caller.user_id(), address)?;
        }
        let open = <R::Authentication as Authenticate>::OPEN;
        let max_body = if open { MAX_OPEN_BODY } else { gate.max_body() };
        let body = read(body, max_body).await?;
        json::check(&body)?;

        let mut arguments: Vec<&str> = params.iter().map(|(_, value)| value).collect();
        arguments.extend(fixed.arguments);
        let content: &[u8] = match head.method {
            // Clients leave the body out where every field of it is optional; a `PUT` says what it puts.
            Method::POST if body.is_empty() => b"{}",
            Method::PUT if body.is_empty() => {
                return Err(Error::new(ErrorKind::NotJson, "The body is missing"));
            }
            _ => &body,
        };
        head.method = R::METHOD;
        if let Some((name, value)) = fixed.query {
            add_query(&mut head, name, value);
        }
        let request = http::Request::from_parts(head, content);
        let request = R::try_from_http_request(request, &arguments).map_err(undecodable)?;
        Ok(Self {
            request,
            caller,
            body,
            address,
        })
    }
}

/// Adds a query parameter to a request that does not give it.
fn add_query(head: &mut Parts, name: &str, value: &str) {
    let query = head.uri.query().unwrap_or_default();
    if query
        .split('&')
        .any(|pair| pair.split('=').next() == Some(name))
    {
        return;
    }
    let uri = format!("{}?{query}&{name}={value}", head.uri.path());
    // What was a URI stays one with a plain parameter at its end.
    if let Ok(uri) = uri.parse() {
        head.uri = uri;
    }
}

async fn path_params(head: &mut Parts) -> Result<RawPathParams> {
    let params = RawPathParams::from_request_parts(head, &())
        .await
        .map_err(|_| Error::new(ErrorKind::InvalidParam, "The path is not UTF-8"))?;
    // No identifier contains one, and the database cannot hold one.
    if params.iter().any(|(_, value)| value.contains('\0')) {
        return Err(Error::new(
            ErrorKind::InvalidParam,
            "The path contains a null character",
        ));
    }
    Ok(params)
}

async fn read(body: axum::body::Body, max_body: usize) -> Result<Bytes> {
    axum::body::to_bytes(body, max_body).await.map_err(|error| {
        if is_length_limit(&error) {
            Error::new(ErrorKind::TooLarge, "The body is too large")
        } else {
            Error::new(ErrorKind::NotJson, "The body ended early")
        }
    })
}

fn is_length_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

fn undecodable(error: FromHttpRequestError) -> Error {
    let FromHttpRequestError::Deserialization(error) = error else {
        return Error::new(ErrorKind::Unrecognized, "Unrecognized request")
            .with_status(StatusCode::METHOD_NOT_ALLOWED);
    };
    let kind = match &error {
        DeserializationError::Json(error) if error.is_data() => ErrorKind::BadJson,
        DeserializationError::Json(_) => ErrorKind::NotJson,
        _ => ErrorKind::InvalidParam,
    };
    Error::new(kind, error.to_string())
}
