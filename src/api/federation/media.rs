//! This server's files, for other servers.
//!
//! Spec: server-server, "Content Repository".

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderValue, header};
use media::Download;
use ruma::api::federation::authenticated_media::{get_content, get_content_thumbnail};
use types::random;

use crate::{
    App, Error, IntoMatrixResponse, Matrix, Result,
    client::media::{MAX_WAIT, file::content_headers, thumbnail_request},
};

/// A file to serve as the second part of a `multipart/mixed` body.
pub(crate) struct MultipartFile {
    download: Download,
    boundary: String,
}

/// A file of this server.
pub(crate) async fn download(
    app: App,
    call: Matrix<get_content::v1::Request>,
) -> Result<MultipartFile> {
    app.federation.policy().check_media(call.caller.origin())?;
    let request = call.request;
    let wait = request.timeout_ms.min(MAX_WAIT);
    let file = app
        .media
        .download(&app.server_name, &request.media_id, wait)
        .await?;
    MultipartFile::new(file)
}

/// A thumbnail of a file of this server.
pub(crate) async fn thumbnail(
    app: App,
    call: Matrix<get_content_thumbnail::v1::Request>,
) -> Result<MultipartFile> {
    app.federation.policy().check_media(call.caller.origin())?;
    let request = call.request;
    let size = (request.width, request.height);
    let wanted = thumbnail_request(size, request.method, request.animated)?;
    let wait = request.timeout_ms.min(MAX_WAIT);
    let file = app
        .media
        .thumbnail(&app.server_name, &request.media_id, wanted, wait)
        .await?;
    MultipartFile::new(file)
}

impl MultipartFile {
    fn new(download: Download) -> Result<Self> {
        // Random, so that no file contains it.
        let boundary = random::token().map_err(media::Error::from)?;
        Ok(Self { download, boundary })
    }
}

impl IntoMatrixResponse for MultipartFile {
    fn into_matrix_response(self) -> Response {
        let Self { download, boundary } = self;
        let (content_type, disposition) = content_headers(&download);
        let mut start =
            format!("--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}")
                .into_bytes();
        for (name, value) in [
            ("Content-Type", &content_type),
            ("Content-Disposition", &disposition),
        ] {
            start.extend_from_slice(b"\r\n");
            start.extend_from_slice(name.as_bytes());
            start.extend_from_slice(b": ");
            start.extend_from_slice(value.as_bytes());
        }
        start.extend_from_slice(b"\r\n\r\n");
        let end = format!("\r\n--{boundary}--\r\n");
        let length = (download.size).map(|size| size + (start.len() + end.len()) as u64);
        let once = |bytes: Bytes| stream::iter([Ok(bytes)]);
        let body = once(start.into()).chain(download.body);
        let mut response = Response::new(Body::from_stream(body.chain(once(end.into()))));
        match HeaderValue::try_from(format!("multipart/mixed; boundary={boundary}")) {
            Ok(value) => response.headers_mut().insert(header::CONTENT_TYPE, value),
            Err(error) => return Error::serialization(error).into_response(),
        };
        if let Some(length) = length {
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length.into());
        }
        response
    }
}
