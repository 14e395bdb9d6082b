//! Requests for which ruma has no type, among them those of proposals that it has behind a feature only.

use ruma::api::error::DeserializationError;
use serde::{Deserialize, de::value::SeqDeserializer};

/// Says of a request what ruma's macros would: method, path and authentication, and how it is read from
/// the arguments in the path and the request. It is rate-limited, and answered with JSON text: the type of
/// the response is a stand-in.
macro_rules! endpoint {
    ($request:ty, $method:ident $path:literal, $authentication:ty, $read:expr) => {
        impl ruma::api::Metadata for $request {
            const METHOD: http::Method = http::Method::$method;
            const RATE_LIMITED: bool = true;
            type Authentication = $authentication;
            type PathBuilder = ruma::api::path_builder::SinglePath;
            const PATH_BUILDER: Self::PathBuilder =
                ruma::api::path_builder::SinglePath::new(concat!("/_matrix/client/", $path));
        }

        impl ruma::api::IncomingRequest for $request {
            type EndpointError = ruma::api::error::Error;
            type OutgoingResponse =
                ruma::api::client::config::set_global_account_data::v3::Response;

            fn try_from_http_request_inner(
                request: http::Request<&[u8]>,
                path_args: &[&str],
            ) -> Result<Self, ruma::api::error::DeserializationError> {
                let read: fn(
                    &[&str],
                    &http::Request<&[u8]>,
                ) -> Result<Self, ruma::api::error::DeserializationError> = $read;
                read(path_args, &request)
            }
        }
    };
}
pub(crate) use endpoint;

/// The arguments in the path.
pub(crate) fn arguments<'de, T: Deserialize<'de>>(
    path_args: &[&'de str],
) -> Result<T, DeserializationError> {
    let arguments = SeqDeserializer::<_, serde::de::value::Error>::new(path_args.iter().copied());
    Ok(T::deserialize(arguments)?)
}

/// The parameters in the query.
pub(crate) fn query<T: for<'de> Deserialize<'de>>(
    request: &http::Request<&[u8]>,
) -> Result<T, DeserializationError> {
    let query = request.uri().query().unwrap_or_default();
    Ok(serde_html_form::from_str(query)?)
}
