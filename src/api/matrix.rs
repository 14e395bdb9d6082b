//! One extractor and one response conversion for every endpoint that ruma has a type for.

use std::net::IpAddr;

use axum::{
    extract::{FromRequestParts, RawPathParams, Request},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use identity::Caller;
use ruma::api::{
    IncomingRequest, IncomingRequestExt, Metadata, OutgoingResponse, OutgoingResponseExt,
    error::{DeserializationError, FromHttpRequestError},
    path_builder::PathBuilder as _,
};
use types::ErrorKind;

use crate::{
    authenticate::{ApiState, Authenticate, MaybeCaller as _, address},
    client::delayed_events,
    error::{Error, Result},
    guests,
    json::{RawJson, depth_exceeds},
    limits::Class,
};

/// The largest body accepted on endpoints that need no access token.
const MAX_ANONYMOUS_BODY: usize = 128 * 1024;
/// How deep objects and arrays of a request body may be nested.
const MAX_DEPTH: usize = 100;

/// Defaults that a path supplies: arguments and a query parameter that the typed request needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathDefaults<'a> {
    /// Path arguments appended to those in the path.
    pub arguments: &'a [&'a str],
    /// The name and value of a query parameter, used when the request omits it.
    pub query: Option<(&'a str, &'a str)>,
}

/// The caller type of an endpoint's authentication scheme.
pub(crate) type CallerOf<R> = <<R as Metadata>::Authentication as Authenticate>::Caller;

/// A request that has been authenticated, rate-limited, size-checked and decoded.
pub struct Matrix<R: Metadata<Authentication: Authenticate>> {
    /// The request as ruma types it.
    pub request: R,
    /// The caller: `Caller`, `Option<Caller>`, `Credentials` of a server, or `()`, by the endpoint's authentication
    /// scheme.
    pub caller: CallerOf<R>,
    /// The body as it was sent.
    pub body: Bytes,
    /// The client's address.
    pub address: IpAddr,
    /// The query string as it was sent; empty if there is none.
    pub query: String,
    /// The `Range` header, if the request has one without a condition.
    pub range: Option<HeaderValue>,
}

/// What a handler may return: a ruma response, or JSON text that is already written.
pub trait IntoMatrixResponse {
    /// The HTTP response.
    fn into_matrix_response(self) -> Response;
}

impl<T: OutgoingResponse> IntoMatrixResponse for T {
    fn into_matrix_response(self) -> Response {
        match self.try_into_http_response::<BytesMut>() {
            Ok(response) => response.map(BytesMut::freeze).map(axum::body::Body::from),
            Err(error) => Error::serialization(error).into_response(),
        }
    }
}

impl IntoMatrixResponse for RawJson {
    fn into_matrix_response(self) -> Response {
        self.into_response()
    }
}

/// The HTTP response of a handler's result.
pub(crate) fn respond<A: IntoMatrixResponse>(result: Result<A>) -> Response {
    match result {
        Ok(answer) => answer.into_matrix_response(),
        Err(error) => error.into_response(),
    }
}

impl<R> Matrix<R>
where
    R: IncomingRequest + Metadata<Authentication: Authenticate>,
{
    /// Authenticates, rate-limits, reads and decodes a request, in this order.
    pub(crate) async fn receive<S: ApiState>(
        state: &S,
        request: Request,
        class: Option<Class>,
        defaults: PathDefaults<'_>,
    ) -> Result<Self> {
        let (mut head, body) = request.into_parts();
        let params = path_params(&mut head).await?;
        let caller = R::Authentication::authenticate(state, &head).await?;
        let address = address(&head);
        if caller.caller().is_some_and(Caller::is_guest) {
            guests::check(&R::METHOD, R::PATH_BUILDER.all_paths())?;
        }
        if let Some(class) = class {
            let user_id = caller.caller().map(Caller::user_id);
            state.limits().take(class, user_id, address)?;
        }
        let anonymous = <R::Authentication as Authenticate>::ALLOWS_ANONYMOUS;
        let max_body = if anonymous {
            MAX_ANONYMOUS_BODY
        } else {
            state.max_body()
        };
        let body = read(body, max_body).await?;
        check_json(&body)?;
        R::Authentication::verify(state, &caller, &head, &body).await?;

        let query = head.uri.query().unwrap_or_default().to_owned();
        let is_conditional = head.headers.contains_key(header::IF_RANGE);
        let range = head.headers.get(header::RANGE).cloned();
        let mut arguments: Vec<&str> = params.iter().map(|(_, value)| value).collect();
        arguments.extend(defaults.arguments);
        let content: &[u8] = match head.method {
            // Clients leave the body out where every field of it is optional; a `PUT` says what it puts.
            Method::POST if body.is_empty() => b"{}",
            // A repeated request for a delayed event is known by its transaction.
            Method::PUT if body.is_empty() && query.contains(delayed_events::DELAY) => b"{}",
            Method::PUT if body.is_empty() => {
                return Err(Error::new(ErrorKind::NotJson, "The body is missing"));
            }
            _ => &body,
        };
        head.method = R::METHOD;
        if let Some((name, value)) = defaults.query {
            add_query(&mut head, name, value);
        }
        let request = http::Request::from_parts(head, content);
        let request = R::try_from_http_request(request, &arguments).map_err(decoding_error)?;
        Ok(Self {
            request,
            caller,
            body,
            address,
            query,
            range: range.filter(|_| !is_conditional),
        })
    }
}

/// Adds a query parameter unless the request has it.
fn add_query(head: &mut Parts, name: &str, value: &str) {
    let query = head.uri.query().unwrap_or_default();
    if query
        .split('&')
        .any(|pair| pair.split('=').next() == Some(name))
    {
        return;
    }
    let uri = format!("{}?{query}&{name}={value}", head.uri.path());
    // A URI stays valid with a plain parameter appended.
    if let Ok(uri) = uri.parse() {
        head.uri = uri;
    }
}

/// The decoded parameters of the matched path.
pub(crate) async fn path_params(head: &mut Parts) -> Result<RawPathParams> {
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

/// Refuses bodies that are not UTF-8 or are nested too deeply.
fn check_json(body: &[u8]) -> Result<()> {
    if std::str::from_utf8(body).is_err() {
        return Err(Error::new(ErrorKind::NotJson, "The body is not UTF-8"));
    }
    if depth_exceeds(body, MAX_DEPTH) {
        return Err(Error::new(
            ErrorKind::BadJson,
            "The body is nested too deeply",
        ));
    }
    Ok(())
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

fn decoding_error(error: FromHttpRequestError) -> Error {
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
