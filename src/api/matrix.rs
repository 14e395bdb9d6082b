//! One extractor and one responder for every endpoint that ruma has a type for.

use std::net::{IpAddr, Ipv4Addr};

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
use types::Kind;

use crate::{
    authenticate::{Authenticate, Caller as _, ClientAddress, Gate},
    error::{Error, Result},
    json::{self, RawJson},
    limits::Class,
};

/// The largest body that is read from anybody.
const MAX_OPEN_BODY: usize = 128 * 1024;

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

impl<R> Matrix<R>
where
    R: IncomingRequest + Metadata<Authentication: Authenticate>,
{
    /// Authenticates, limits, bounds and decodes a request, in this order.
    ///
    /// `trailing` are path arguments that the path itself leaves out.
    pub(crate) async fn receive<G: Gate>(
        gate: &G,
        request: Request,
        class: Option<Class>,
        trailing: &[&str],
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
        arguments.extend(trailing);
        // Clients leave the body out where every field of it is optional; a `PUT` says what it puts.
        if body.is_empty() && head.method == Method::PUT {
            return Err(Error::new(Kind::NotJson, "The body is missing"));
        }
        let request = http::Request::from_parts(head, &*body);
        let request = R::try_from_http_request(request, &arguments).map_err(undecodable)?;
        Ok(Self {
            request,
            caller,
            body,
            address,
        })
    }
}

/// Where a request came from; the listener says so.
pub(crate) fn address(head: &Parts) -> IpAddr {
    head.extensions.get::<ClientAddress>().map_or(
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        |ClientAddress(address)| *address,
    )
}

async fn path_params(head: &mut Parts) -> Result<RawPathParams> {
    RawPathParams::from_request_parts(head, &())
        .await
        .map_err(|_| Error::new(Kind::InvalidParam, "The path is not UTF-8"))
}

async fn read(body: axum::body::Body, max_body: usize) -> Result<Bytes> {
    axum::body::to_bytes(body, max_body).await.map_err(|error| {
        if is_length_limit(&error) {
            Error::new(Kind::TooLarge, "The body is too large")
        } else {
            Error::new(Kind::NotJson, "The body ended early")
        }
    })
}

fn is_length_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

fn undecodable(error: FromHttpRequestError) -> Error {
    let FromHttpRequestError::Deserialization(error) = error else {
        return Error::new(Kind::Unrecognized, "Unrecognized request")
            .with_status(StatusCode::METHOD_NOT_ALLOWED);
    };
    let kind = match &error {
        DeserializationError::Json(error) if error.is_data() => Kind::BadJson,
        DeserializationError::Json(_) => Kind::NotJson,
        _ => Kind::InvalidParam,
    };
    Error::new(kind, error.to_string())
}
