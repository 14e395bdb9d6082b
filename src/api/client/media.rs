//! Media.

pub(crate) mod file;
pub(crate) mod legacy;

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use futures::{StreamExt, TryStreamExt};
use http::{HeaderMap, HeaderValue, header, request::Parts};
use identity::Caller;
use media::{Interrupted, ThumbnailRequest, Upload};
use ruma::{
    MilliSecondsSinceUnixEpoch, ServerName, UInt,
    api::client::{
        authenticated_media::{
            get_content, get_content_as_filename, get_content_thumbnail, get_media_config,
        },
        media::create_mxc_uri,
    },
    media::Method,
};
use serde::Deserialize;
use serde_json::json;
use types::ErrorKind;

use crate::{
    App, Error, Matrix, Result, authenticate, guests, json, limits::Class, matrix::path_params,
};

use self::file::{File, file_error, range_request};

/// The longest time that a download waits for pending content.
pub(crate) const MAX_WAIT: Duration = Duration::from_mins(1);

/// Stores a file and returns its URI.
pub(crate) async fn upload(State(app): State<App>, request: Request) -> Result<Response> {
    let (head, body) = request.into_parts();
    let caller = authenticate_uploader(&app, &head).await?;
    let upload = upload_request(&app, &head, body)?;
    let uri = app.media.upload(caller.user_id(), upload).await?;
    Ok(json::json_response(
        http::StatusCode::OK,
        json!({ "content_uri": uri }).to_string(),
    ))
}

/// Creates an URI whose content is uploaded later.
pub(crate) async fn create(
    app: App,
    call: Matrix<create_mxc_uri::v1::Request>,
) -> Result<create_mxc_uri::v1::Response> {
    let created = app.media.create(call.caller.user_id()).await?;
    let mut response = create_mxc_uri::v1::Response::new(created.uri);
    let expires = UInt::try_from(created.expires_ts).unwrap_or(UInt::MAX);
    response.unused_expires_at = Some(MilliSecondsSinceUnixEpoch(expires));
    Ok(response)
}

/// Stores the content of a pending URI.
pub(crate) async fn upload_to(State(app): State<App>, request: Request) -> Result<Response> {
    let (mut head, body) = request.into_parts();
    let path = path_params(&mut head).await?;
    let mut path = path.iter().map(|(_, value)| value);
    let (server_name, media_id) = path.next().zip(path.next()).unwrap_or_default();
    let caller = authenticate_uploader(&app, &head).await?;
    let upload = upload_request(&app, &head, body)?;
    let server_name = <&ServerName>::try_from(server_name)
        .map_err(|error| Error::new(ErrorKind::InvalidParam, error.to_string()))?;
    app.media
        .upload_to(caller.user_id(), server_name, media_id, upload)
        .await?;
    Ok(json::json_response(http::StatusCode::OK, "{}"))
}

/// Serves a file.
pub(crate) async fn download(app: App, call: Matrix<get_content::v1::Request>) -> Result<File> {
    let wait = call.request.timeout_ms.min(MAX_WAIT);
    let (server_name, media_id) = (&call.request.server_name, &call.request.media_id);
    let range = call.range.as_ref().and_then(range_request);
    let file = app.media.download_part(server_name, media_id, wait, range);
    Ok(File::from(file.await.map_err(file_error)?))
}

/// Serves a file under the requested file name.
pub(crate) async fn download_as(
    app: App,
    call: Matrix<get_content_as_filename::v1::Request>,
) -> Result<File> {
    let request = call.request;
    let wait = request.timeout_ms.min(MAX_WAIT);
    let (server_name, media_id) = (&request.server_name, &request.media_id);
    let range = call.range.as_ref().and_then(range_request);
    let file = app.media.download_part(server_name, media_id, wait, range);
    let mut file = file.await.map_err(file_error)?;
    file.filename = Some(request.filename);
    Ok(File::from(file))
}

/// Serves a thumbnail.
pub(crate) async fn thumbnail(
    app: App,
    call: Matrix<get_content_thumbnail::v1::Request>,
) -> Result<File> {
    let request = call.request;
    let size = (request.width, request.height);
    let wanted = thumbnail_request(size, request.method, request.animated)?;
    let wait = request.timeout_ms.min(MAX_WAIT);
    let (server_name, media_id) = (&request.server_name, &request.media_id);
    Ok(File::from(
        app.media
            .thumbnail(server_name, media_id, wanted, wait)
            .await?,
    ))
}

/// What a request for a thumbnail of this width and height asks for.
pub(crate) fn thumbnail_request(
    (width, height): (UInt, UInt),
    method: Option<Method>,
    animated: Option<bool>,
) -> Result<ThumbnailRequest> {
    Ok(ThumbnailRequest {
        width: pixels(width)?,
        height: pixels(height)?,
        method: method.unwrap_or(Method::Scale),
        animated,
    })
}

/// A width or height.
fn pixels(length: UInt) -> Result<u32> {
    let length = u32::try_from(length).ok().filter(|length| *length > 0);
    length.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidParam,
            "Width and height are numbers of pixels",
        )
    })
}

/// The upload size limit.
pub(crate) async fn config(
    app: App,
    _call: Matrix<get_media_config::v1::Request>,
) -> Result<get_media_config::v1::Response> {
    let size = UInt::try_from(app.media.max_upload_bytes()).unwrap_or(UInt::MAX);
    Ok(get_media_config::v1::Response::new(size))
}

async fn authenticate_uploader(app: &App, head: &Parts) -> Result<Caller> {
    let caller = authenticate::caller(app, head).await?;
    if caller.is_guest() {
        return Err(guests::forbidden());
    }
    let address = authenticate::address(head);
    app.limits
        .take(Class::Upload, Some(caller.user_id()), address)?;
    Ok(caller)
}

/// The upload of a request.
fn upload_request(app: &App, head: &Parts, body: Body) -> Result<Upload> {
    #[derive(Deserialize)]
    struct Query {
        filename: Option<String>,
    }
    let query: Query = serde_html_form::from_str(head.uri.query().unwrap_or_default())
        .map_err(|error| Error::new(ErrorKind::InvalidParam, error.to_string()))?;
    let length = text(&head.headers, &header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
    if length.is_some_and(|length: u64| length > app.media.max_upload_bytes()) {
        return Err(media::Error::TooLarge.into());
    }
    let body = body.into_data_stream().map_err(|_| Interrupted).boxed();
    let content_type = text(&head.headers, &header::CONTENT_TYPE).map(str::to_owned);
    Ok(Upload {
        content_type,
        filename: query.filename,
        body,
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers
        .get(name)
        .and_then(|value: &HeaderValue| value.to_str().ok())
}
