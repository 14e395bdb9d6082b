//! The legacy download paths, from before downloads required an access token.
//!
//! Spec: client-server, "Content repository": since Matrix 1.12 new uploads are not served on them
//! without a token. Clients that send their token get the same as on the current paths.

use http::Method;
use ruma::{
    ServerName,
    api::{
        IncomingRequest, Metadata,
        auth_scheme::AccessTokenOptional,
        client::authenticated_media::{
            get_content, get_content_as_filename, get_content_thumbnail,
        },
        error::DeserializationError,
    },
};
use serde::Deserialize;
use types::ErrorKind;

use super::file::File;
use crate::{App, Error, Matrix, Result};

/// A request on a legacy path.
pub(crate) struct Legacy<R>(R);

/// Serves a file.
pub(crate) async fn download(
    app: App,
    call: Matrix<Legacy<get_content::v1::Request>>,
) -> Result<File> {
    let call = authenticated(call)?;
    check_allow_remote(&app, &call.request.server_name, &call.query)?;
    super::download(app, call).await
}

/// Serves a file under the requested file name.
pub(crate) async fn download_as(
    app: App,
    call: Matrix<Legacy<get_content_as_filename::v1::Request>>,
) -> Result<File> {
    let call = authenticated(call)?;
    check_allow_remote(&app, &call.request.server_name, &call.query)?;
    super::download_as(app, call).await
}

/// Serves a thumbnail.
pub(crate) async fn thumbnail(
    app: App,
    call: Matrix<Legacy<get_content_thumbnail::v1::Request>>,
) -> Result<File> {
    let call = authenticated(call)?;
    check_allow_remote(&app, &call.request.server_name, &call.query)?;
    super::thumbnail(app, call).await
}

/// The request as on the current path; 404 without an access token.
fn authenticated<R>(call: Matrix<Legacy<R>>) -> Result<Matrix<R>>
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
        query: call.query,
        range: call.range,
    })
}

/// 404 for a file of another server, if the client wants none (`allow_remote=false`).
fn check_allow_remote(app: &App, server_name: &ServerName, query: &str) -> Result<()> {
    #[derive(Deserialize)]
    struct Query {
        #[serde(default = "yes")]
        allow_remote: bool,
    }
    fn yes() -> bool {
        true
    }
    let query: Query = serde_html_form::from_str(query)
        .map_err(|error| Error::new(ErrorKind::InvalidParam, error.to_string()))?;
    if query.allow_remote || *server_name == *app.server_name {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NotFound,
        "The file is of another server",
    ))
}

impl<R: Metadata> Metadata for Legacy<R> {
    const METHOD: Method = R::METHOD;
    const RATE_LIMITED: bool = R::RATE_LIMITED;
    type Authentication = AccessTokenOptional;
    type PathBuilder = R::PathBuilder;
    const PATH_BUILDER: R::PathBuilder = R::PATH_BUILDER;
}

impl<R: IncomingRequest> IncomingRequest for Legacy<R> {
    type EndpointError = R::EndpointError;
    type OutgoingResponse = R::OutgoingResponse;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        R::try_from_http_request_inner(request, path_args).map(Self)
    }
}
