//! The response that carries a file, with headers that keep browsers from executing it.

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use media::{Download, RangeRequest};
use ruma::http_headers::{ContentDisposition, ContentDispositionType};

use crate::{Error, IntoMatrixResponse};

/// The policy that the specification recommends.
const SECURITY_POLICY: &str = "sandbox; default-src 'none'; script-src 'none'; \
    plugin-types application/pdf; style-src 'unsafe-inline'; object-src 'self';";
/// The content of a media id never changes, but access to it can.
const CACHE: &str = "private, max-age=31536000, immutable";
/// The content type of a file without one.
const UNKNOWN: &str = "application/octet-stream";
/// The content types that may be displayed inline. Spec: "Serving inline content".
const INLINE: &[&str] = &[
    "text/css",
    "text/plain",
    "text/csv",
    "application/json",
    "application/ld+json",
    "image/jpeg",
    "image/gif",
    "image/png",
    "image/apng",
    "image/webp",
    "image/avif",
    "video/mp4",
    "video/webm",
    "video/ogg",
    "video/quicktime",
    "audio/mp4",
    "audio/webm",
    "audio/aac",
    "audio/mpeg",
    "audio/ogg",
    "audio/wave",
    "audio/wav",
    "audio/x-wav",
    "audio/x-pn-wav",
    "audio/flac",
    "audio/x-flac",
];

/// A file to serve.
pub(crate) struct File(Download);

impl From<Download> for File {
    fn from(download: Download) -> Self {
        Self(download)
    }
}

impl IntoMatrixResponse for File {
    fn into_matrix_response(self) -> Response {
        let Self(file) = self;
        let (content_type, disposition) = content_headers(&file);
        let headers = [
            (header::CONTENT_TYPE, content_type),
            (header::CONTENT_DISPOSITION, disposition),
            (
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(SECURITY_POLICY),
            ),
            (
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            ),
            (header::CACHE_CONTROL, HeaderValue::from_static(CACHE)),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                HeaderValue::from_static("cross-origin"),
            ),
        ];
        let mut response = Response::new(Body::from_stream(file.body));
        response.headers_mut().extend(headers);
        let Some(size) = file.size else {
            return response;
        };
        let headers = response.headers_mut();
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::CONTENT_LENGTH, size.into());
        if let Some(range) = file.range {
            let (length, last) = (range.end - range.start, range.end.saturating_sub(1));
            let part = format!("bytes {}-{last}/{size}", range.start);
            headers.insert(header::CONTENT_LENGTH, length.into());
            headers.insert(header::CONTENT_RANGE, value(&part, "bytes */*"));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        response
    }
}

/// The part of a file that a `Range` header asks for; `None` for what is not valid and for several parts, for which the
/// whole file is served.
pub(crate) fn range_request(header: &HeaderValue) -> Option<RangeRequest> {
    let range = header.to_str().ok()?.strip_prefix("bytes=")?;
    let (first, last) = range.split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", last) => Some(RangeRequest::Last(last.parse().ok()?)),
        (first, "") => Some(RangeRequest::From(first.parse().ok()?, None)),
        (first, last) => {
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some(RangeRequest::From(first, Some(last)))
        }
    }
}

/// The error of a download.
pub(crate) fn file_error(error: media::Error) -> Error {
    let is_outside = matches!(error, media::Error::NoSuchRange(_));
    let error = Error::from(error);
    if is_outside {
        error.with_status(StatusCode::RANGE_NOT_SATISFIABLE)
    } else {
        error
    }
}

/// The values of `Content-Type` and `Content-Disposition`.
pub(crate) fn content_headers(file: &Download) -> (HeaderValue, HeaderValue) {
    let content_type = file.content_type.as_deref().unwrap_or(UNKNOWN);
    let filename = file.filename.clone();
    let disposition = ContentDisposition::new(disposition(content_type)).with_filename(filename);
    (
        value(content_type, UNKNOWN),
        value(&disposition.to_string(), "attachment"),
    )
}

/// Whether the file is displayed inline or downloaded.
fn disposition(content_type: &str) -> ContentDispositionType {
    let (essence, _parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let essence = essence.trim();
    if INLINE
        .iter()
        .any(|allowed| allowed.eq_ignore_ascii_case(essence))
    {
        ContentDispositionType::Inline
    } else {
        ContentDispositionType::Attachment
    }
}

/// The text as a header value, or the default if it is not a valid one.
fn value(text: &str, default: &'static str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(default))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::{StreamExt, stream};

    use super::*;

    fn header(content_type: Option<&str>, filename: &str, name: HeaderName) -> String {
        let file = File(Download {
            content_type: content_type.map(str::to_owned),
            filename: Some(filename.to_owned()),
            size: Some(1),
            range: None,
            body: stream::iter([Ok(Bytes::from_static(b"x"))]).boxed(),
        });
        let response = file.into_matrix_response();
        response.headers()[name].to_str().unwrap().to_owned()
    }

    #[test]
    fn only_safe_types_are_inline() {
        let disposition = |content_type| header(content_type, "f", header::CONTENT_DISPOSITION);
        for shown in ["image/png", "Text/Plain; charset=utf-8", "video/mp4 "] {
            assert_eq!(disposition(Some(shown)), "inline; filename=f");
        }
        for saved in [
            "text/html",
            "image/svg+xml",
            "application/pdf",
            "image/pngx",
            "",
        ] {
            assert_eq!(disposition(Some(saved)), "attachment; filename=f");
        }
        assert_eq!(disposition(None), "attachment; filename=f");
    }

    #[test]
    fn file_names_are_escaped() {
        let disposition = |name| header(Some("image/png"), name, header::CONTENT_DISPOSITION);
        assert_eq!(disposition("a b;c"), r#"inline; filename="a b;c""#);
        assert_eq!(
            disposition(r#"a"; x="b\"#),
            r#"inline; filename="a\"; x=\"b\\""#
        );
        assert_eq!(
            disposition("a\r\nSet-Cookie: b"),
            r#"inline; filename="aSet-Cookie: b""#
        );
        assert_eq!(
            disposition("\u{2615}"),
            "inline; filename*=utf-8''%E2%98%95"
        );
    }

    #[test]
    fn invalid_header_values_are_replaced() {
        assert_eq!(
            header(Some("image/png\n"), "f", header::CONTENT_TYPE),
            UNKNOWN
        );
        assert_eq!(header(None, "f", header::CONTENT_TYPE), UNKNOWN);
        assert_eq!(header(None, "f", header::X_CONTENT_TYPE_OPTIONS), "nosniff");
    }

    #[test]
    fn one_range_of_bytes_is_understood() {
        let parse = |text| range_request(&HeaderValue::from_static(text));
        assert_eq!(parse("bytes=0-"), Some(RangeRequest::From(0, None)));
        assert_eq!(parse("bytes=2-5"), Some(RangeRequest::From(2, Some(5))));
        assert_eq!(parse("bytes=-5"), Some(RangeRequest::Last(5)));
        for whole in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=1-2,4-5",
            "lines=1-2",
            "bytes=a-",
        ] {
            assert_eq!(parse(whole), None, "{whole}");
        }
    }
}
