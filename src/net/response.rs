//! Responses whose size is bounded.

use bytes::{Bytes, BytesMut};

use crate::Error;

/// A response that has arrived as a whole.
pub type Response = http::Response<Bytes>;

/// Reads a response; fails as soon as its body exceeds `max_body` bytes.
pub(crate) async fn read(
    mut response: reqwest::Response,
    max_body: usize,
) -> Result<Response, Error> {
    let too_large = || Error::TooLarge(max_body);
    let length = response.content_length().unwrap_or_default();
    if usize::try_from(length).map_or(true, |length| length > max_body) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > max_body - body.len() {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut read = http::Response::new(body.freeze());
    *read.status_mut() = status;
    *read.headers_mut() = headers;
    Ok(read)
}
