//! The paths from before downloads asked for an access token.
//!
//! Spec: client-server, "Content repository": from Matrix 1.12 on, what is newly uploaded is not
//! served on them without a token. All that is here is newer. Clients that send their token all
//! the same get what they would get on the new paths.

use http::Method;
use ruma::api::{
    IncomingRequest, Metadata,
    auth_scheme::AccessTokenOptional,
    client::authenticated_media::{get_content, get_content_as_filename, get_content_thumbnail},
    error::DeserializationError,
};
use types::ErrorKind;

use super::file::File;
use crate::{App, Error, Matrix, Result};

/// A request of today on a path of old.
pub(crate) struct Old<R>(R);

/// Sends a file.
pub(crate) async fn download(
    app: App,
    call: Matrix<Old<get_content::v1::Request>>,
) -> Result<File> {
    super::download(app, of_today(call)?).await
}

/// Sends a file under the name that the caller likes better.
pub(crate) async fn download_as(
    app: App,
    call: Matrix<Old<get_content_as_filename::v1::Request>>,
) -> Result<File> {
    super::download_as(app, of_today(call)?).await
}

/// Sends a small version of an image.
pub(crate) async fn thumbnail(
    app: App,
    call: Matrix<Old<get_content_thumbnail::v1::Request>>,
) -> Result<File> {
    super::thumbnail(app, of_today(call)?).await
}

/// The same request on today's path; strangers learn nothing.
fn of_today<R>(call: Matrix<Old<R>>) -> Result<Matrix<R>>
where
    R: Metadata<Authentication = ruma::api::auth_scheme::AccessToken>,
{
    let Some(caller) = call.caller else {
        return Err(Error::new(
            ErrorKind::NotFound,
            "Files are served to users with an access token only",
        ));
    };
    Ok(Matrix {
        request: call.request.0,
        caller,
        body: call.body,
        address: call.address,
    })
}

impl<R: Metadata> Metadata for Old<R> {
    const METHOD: Method = R::METHOD;
    const RATE_LIMITED: bool = R::RATE_LIMITED;
    type Authentication = AccessTokenOptional;
    type PathBuilder = R::PathBuilder;
    const PATH_BUILDER: R::PathBuilder = R::PATH_BUILDER;
}

impl<R: IncomingRequest> IncomingRequest for Old<R> {
    type EndpointError = R::EndpointError;
    type OutgoingResponse = R::OutgoingResponse;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        R::try_from_http_request_inner(request, path_args).map(Self)
    }
}
