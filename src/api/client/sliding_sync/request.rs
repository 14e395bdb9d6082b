//! The endpoints; ruma has none for the stable path, and not all parameters of the unstable one.

use http::Method;
use ruma::api::{
    IncomingRequest, Metadata, auth_scheme::AccessToken, client::sync::sync_events::v3,
    error::DeserializationError, path_builder::SinglePath,
};

use super::body::{StableBody, UnstableBody};

macro_rules! endpoint {
    ($body:ty, $path:literal) => {
        impl Metadata for $body {
            const METHOD: Method = Method::POST;
            const RATE_LIMITED: bool = false;
            type Authentication = AccessToken;
            type PathBuilder = SinglePath;
            const PATH_BUILDER: Self::PathBuilder = SinglePath::new($path);
        }

        impl IncomingRequest for $body {
            type EndpointError = <v3::Request as IncomingRequest>::EndpointError;
            type OutgoingResponse = v3::Response;

            fn try_from_http_request_inner(
                request: http::Request<&[u8]>,
                _: &[&str],
            ) -> Result<Self, DeserializationError> {
                Ok(serde_json::from_slice(request.body())?)
            }
        }
    };
}

endpoint!(
    UnstableBody,
    "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
);
endpoint!(StableBody, "/_matrix/client/v4/sync");
