//! Files of other servers.
//!
//! Spec: server-server, "Content Repository".

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use net::{Pace, StreamedResponse};
use ruma::{
    ServerName, UInt,
    api::federation::authenticated_media::{get_content, get_content_thumbnail},
    http_headers::ContentDisposition,
    media::Method,
};

use crate::{
    Error, Federation, Result,
    client::unreachable,
    multipart::{FileHeaders, Malformed, MultipartReader, Step},
    requests::successful,
};

/// How long a server may take to answer, besides the time that it waits for an upload.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A slow server is read from as long as it sends this much.
const PERIOD: Duration = Duration::from_mins(1);
const MIN_BYTES: u64 = 64 * 1024;
/// What is read of an error.
const ERROR_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ERROR: usize = 64 * 1024;

/// A request for a thumbnail.
#[derive(Clone, Debug)]
pub struct ThumbnailRequest {
    /// The minimum width, in pixels.
    pub width: u32,
    /// The minimum height, in pixels.
    pub height: u32,
    /// Whether the image may be cropped.
    pub method: Method,
    /// Whether it may be animated; `None` leaves it to the server.
    pub animated: Option<bool>,
}

/// A file of another server, read as it arrives.
#[derive(Debug)]
pub struct MediaFile {
    /// The content type, if the server gives one; not checked.
    pub content_type: Option<String>,
    /// The file name, if the server gives one; not checked.
    pub filename: Option<String>,
    /// The size in bytes, if it is known before the end.
    pub size: Option<u64>,
    server: ruma::OwnedServerName,
    response: StreamedResponse,
    /// `None` for a response that is the file itself.
    reader: Option<MultipartReader>,
    is_end: bool,
}

impl Federation {
    /// Opens a file of a server, which waits up to `wait` for one that is not uploaded yet.
    pub async fn download_media(
        &self,
        server: &ServerName,
        media_id: &str,
        wait: Duration,
    ) -> Result<MediaFile> {
        let mut request = get_content::v1::Request::new(media_id.to_owned());
        request.timeout_ms = wait;
        let request = self.sign(server, request)?;
        let legacy = format!(
            "/_matrix/media/v3/download/{server}/{media_id}?allow_remote=false&allow_redirect=true&timeout_ms={}",
            wait.as_millis()
        );
        self.open_media(server, request, &legacy, wait).await
    }

    /// Opens a thumbnail of a file of a server; see [`Self::download_media`].
    pub async fn download_thumbnail(
        &self,
        server: &ServerName,
        media_id: &str,
        thumbnail: &ThumbnailRequest,
        wait: Duration,
    ) -> Result<MediaFile> {
        let (width, height) = (UInt::from(thumbnail.width), UInt::from(thumbnail.height));
        let mut request =
            get_content_thumbnail::v1::Request::new(media_id.to_owned(), width, height);
        request.method = Some(thumbnail.method.clone());
        request.animated = thumbnail.animated;
        request.timeout_ms = wait;
        let request = self.sign(server, request)?;
        let legacy = format!(
            "/_matrix/media/v3/thumbnail/{server}/{media_id}?width={width}&height={height}&method={}\
             &allow_remote=false&allow_redirect=true&timeout_ms={}",
            thumbnail.method,
            wait.as_millis()
        );
        self.open_media(server, request, &legacy, wait).await
    }

    /// Sends a request for a file; a server that does not know the endpoint is asked as in older versions of the
    /// specification.
    async fn open_media(
        &self,
        server: &ServerName,
        request: Request<Bytes>,
        legacy: &str,
        wait: Duration,
    ) -> Result<MediaFile> {
        self.policy().check_media(server)?;
        let pace = pace(wait);
        let client = &self.inner().client;
        let response = client.open(server, request, pace).await?;
        match failure(server, response).await? {
            Ok(response) => self.read_multipart(server, response).await,
            Err(error) if is_unknown_endpoint(&error) => {
                let mut request = Request::new(Bytes::new());
                *request.uri_mut() = legacy
                    .parse::<Uri>()
                    .map_err(|error| Error::Request(error.to_string()))?;
                let response = client.open(server, request, pace).await?;
                if let Some(url) = redirect(&response) {
                    return self.open_location(server, &url).await;
                }
                Ok(MediaFile::plain(server, failure(server, response).await??))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a response up to the beginning of the file.
    async fn read_multipart(
        &self,
        server: &ServerName,
        response: StreamedResponse,
    ) -> Result<MediaFile> {
        let content_type = text(response.headers(), &header::CONTENT_TYPE);
        let reader = MultipartReader::new(content_type.as_deref().unwrap_or_default());
        let mut file = MediaFile {
            content_type: None,
            filename: None,
            size: None,
            server: server.to_owned(),
            response,
            reader: Some(reader.map_err(|error| malformed(server, error))?),
            is_end: false,
        };
        let headers = loop {
            match file.step()? {
                Step::File(headers) => break headers,
                Step::Incomplete => file.feed().await?,
                Step::Content(_) | Step::End => {
                    return Err(malformed(server, Malformed::Incomplete));
                }
            }
        };
        if let Some(location) = &headers.location {
            let url = String::from_utf8_lossy(location);
            return self.open_location(server, &url).await;
        }
        file.take_headers(headers);
        Ok(file)
    }

    /// Follows a server to the place where it keeps its files.
    async fn open_location(&self, server: &ServerName, url: &str) -> Result<MediaFile> {
        let client = &self.inner().client;
        let response = client.open_url(server, url, pace(Duration::ZERO)).await?;
        Ok(MediaFile::plain(server, failure(server, response).await??))
    }
}

impl MediaFile {
    /// The next bytes of the file; `None` when it is complete.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if self.reader.is_none() {
            let chunk = self.response.chunk().await;
            return chunk.map_err(|error| unreachable(&self.server, error));
        }
        loop {
            match self.step()? {
                Step::Content(bytes) => return Ok(Some(bytes)),
                Step::Incomplete => self.feed().await?,
                Step::File(_) | Step::End => return Ok(None),
            }
        }
    }

    /// A response that is the file itself.
    fn plain(server: &ServerName, response: StreamedResponse) -> Self {
        let headers = response.headers();
        let value = |name| headers.get(name).map(|value| value.as_bytes().to_vec());
        let file_headers = FileHeaders {
            content_type: value(header::CONTENT_TYPE),
            content_disposition: value(header::CONTENT_DISPOSITION),
            location: None,
        };
        let mut file = Self {
            content_type: None,
            filename: None,
            size: response.content_length(),
            server: server.to_owned(),
            response,
            reader: None,
            is_end: false,
        };
        file.take_headers(file_headers);
        file
    }

    fn take_headers(&mut self, headers: FileHeaders) {
        let text = |bytes| String::from_utf8(bytes).ok();
        self.content_type = headers.content_type.and_then(text);
        let disposition = headers.content_disposition;
        let disposition =
            disposition.and_then(|bytes| ContentDisposition::try_from(bytes.as_slice()).ok());
        self.filename = disposition.and_then(|disposition| disposition.filename);
    }

    fn step(&mut self) -> Result<Step> {
        let Some(reader) = &mut self.reader else {
            return Ok(Step::End);
        };
        let step = reader.step(self.is_end);
        step.map_err(|error| malformed(&self.server, error))
    }

    async fn feed(&mut self) -> Result<()> {
        let chunk = self.response.chunk().await;
        let chunk = chunk.map_err(|error| unreachable(&self.server, error))?;
        match (chunk, &mut self.reader) {
            (Some(bytes), Some(reader)) => reader.feed(&bytes),
            _ => self.is_end = true,
        }
        Ok(())
    }
}

fn pace(wait: Duration) -> Pace {
    Pace {
        head: HEAD_TIMEOUT + wait,
        period: PERIOD,
        bytes: MIN_BYTES,
    }
}

/// The response, or the error that the server has answered with.
async fn failure(
    server: &ServerName,
    response: StreamedResponse,
) -> Result<Result<StreamedResponse>> {
    if response.status().is_success() {
        return Ok(Ok(response));
    }
    let response = response.read(ERROR_TIMEOUT, MAX_ERROR).await;
    let response = response.map_err(|error| unreachable(server, error))?;
    match successful(server, response) {
        Ok(_) => Err(malformed(server, Malformed::Incomplete)),
        Err(error) => Ok(Err(error)),
    }
}

/// Spec: "servers MUST try the endpoints described below before falling back". Proxies and older servers answer in many
/// ways to a path that they do not know.
fn is_unknown_endpoint(error: &Error) -> bool {
    matches!(error, Error::Remote { status: 400..=499, errcode, .. }
        if errcode.is_empty() || errcode == "M_UNRECOGNIZED")
}

fn redirect(response: &StreamedResponse) -> Option<String> {
    let leads_on = matches!(
        response.status(),
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    );
    leads_on
        .then(|| text(response.headers(), &header::LOCATION))
        .flatten()
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

fn malformed(server: &ServerName, error: Malformed) -> Error {
    Error::InvalidResponse {
        server: server.to_owned(),
        reason: error.to_string(),
    }
}
