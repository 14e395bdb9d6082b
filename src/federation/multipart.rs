//! Reads a file out of a `multipart/mixed` body while it arrives.
//!
//! Spec: server-server, "Content Repository"; RFC 2046, section 5.1. What is kept in memory is bounded: headers, the metadata,
//! and at most one chunk of the file.

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memmem::Finder;
use serde_json::{Map, Value};

/// The longest boundary, by RFC 2046.
const MAX_BOUNDARY: usize = 70;
/// The most bytes before the first boundary.
const MAX_PREAMBLE: usize = 1024;
/// The most spaces behind a boundary.
const MAX_PADDING: usize = 64;
/// The most bytes of the headers of a part.
const MAX_HEADERS: usize = 16 * 1024;
/// The most bytes of the metadata.
const MAX_METADATA: usize = 16 * 1024;

/// The body is not one of the two parts that the specification asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The content type is not `multipart/mixed` with a boundary.
    #[error("the content type is not multipart/mixed with a boundary")]
    ContentType,
    /// The first boundary does not come.
    #[error("the body does not begin with a boundary")]
    Preamble,
    /// Something follows a boundary on its line.
    #[error("a boundary is not on a line of its own")]
    Boundary,
    /// The headers of a part are too long, or are none.
    #[error("the headers of a part are not valid")]
    Headers,
    /// The first part is not a JSON object.
    #[error("the first part is not a JSON object")]
    Metadata,
    /// The body ends before the last boundary.
    #[error("the body ends early")]
    Incomplete,
}

/// The headers of the part with the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileHeaders {
    /// `Content-Type`.
    pub content_type: Option<Vec<u8>>,
    /// `Content-Disposition`.
    pub content_disposition: Option<Vec<u8>>,
    /// `Location`: the file is there and not in the part.
    pub location: Option<Vec<u8>>,
}

/// What the reader has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More of the body is needed.
    Incomplete,
    /// The part with the file begins.
    File(FileHeaders),
    /// The next bytes of the file.
    Content(Bytes),
    /// The file is complete.
    End,
}

/// Reads a body of two parts: metadata, then a file.
#[derive(Debug)]
pub struct MultipartReader {
    /// A line break and the boundary.
    delimiter: Finder<'static>,
    /// What has arrived and is not read yet.
    buffer: BytesMut,
    stage: Stage,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Preamble,
    BoundaryLine,
    Headers,
    /// Of the metadata or of the file; the line break behind the headers may be that of the delimiter.
    BodyStart,
    Body,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Metadata,
    File,
    None,
}

impl MultipartReader {
    /// A reader for a body with this content type.
    pub fn new(content_type: &str) -> Result<Self, Malformed> {
        let boundary = boundary(content_type).ok_or(Malformed::ContentType)?;
        let delimiter = format!("\r\n--{boundary}");
        Ok(Self {
            delimiter: Finder::new(delimiter.as_bytes()).into_owned(),
            // The first boundary needs no line break if nothing is before it.
            buffer: BytesMut::from(&b"\r\n"[..]),
            stage: Stage::Preamble,
            part: Part::Metadata,
        })
    }

    /// Takes the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next finding in what has arrived. `is_end`: nothing more will come.
    pub fn step(&mut self, is_end: bool) -> Result<Step, Malformed> {
        loop {
            let found = match self.stage {
                Stage::Preamble => self.preamble()?,
                Stage::BoundaryLine => self.boundary_line(is_end)?,
                Stage::Headers => self.headers()?,
                Stage::BodyStart => self.body_start(),
                Stage::Body => self.body()?,
                Stage::End => Found::Step(Step::End),
            };
            match found {
                Found::Step(step) => return Ok(step),
                Found::NextStage => {}
                Found::Nothing if is_end => return Err(Malformed::Incomplete),
                Found::Nothing => return Ok(Step::Incomplete),
            }
        }
    }

    fn preamble(&mut self) -> Result<Found, Malformed> {
        let Some(start) = self.delimiter.find(&self.buffer) else {
            return self.within(MAX_PREAMBLE, Malformed::Preamble);
        };
        if start > MAX_PREAMBLE {
            return Err(Malformed::Preamble);
        }
        self.buffer.advance(start + self.delimiter.needle().len());
        self.stage = Stage::BoundaryLine;
        Ok(Found::NextStage)
    }

    /// The rest of the line with a boundary. The last one of all ends with two hyphens; some servers leave them out at
    /// the end of the body.
    fn boundary_line(&mut self, is_end: bool) -> Result<Found, Malformed> {
        if self.part == Part::None {
            self.stage = Stage::End;
            return Ok(Found::NextStage);
        }
        let is_padding = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r');
        let padding = self.buffer.iter().take_while(is_padding).count();
        match self.buffer.get(padding) {
            _ if padding > MAX_PADDING => Err(Malformed::Boundary),
            Some(b'\n') => {
                self.buffer.advance(padding + 1);
                self.stage = Stage::Headers;
                Ok(Found::NextStage)
            }
            // The last boundary, with a part missing.
            Some(b'-') => Err(Malformed::Incomplete),
            Some(_) => Err(Malformed::Boundary),
            None if is_end => Err(Malformed::Incomplete),
            None => Ok(Found::Nothing),
        }
    }

    fn headers(&mut self) -> Result<Found, Malformed> {
        let Some(end) = headers_end(&self.buffer) else {
            return self.within(MAX_HEADERS, Malformed::Headers);
        };
        if end > MAX_HEADERS {
            return Err(Malformed::Headers);
        }
        let headers = file_headers(&self.buffer.split_to(end))?;
        self.stage = Stage::BodyStart;
        Ok(match self.part {
            Part::File => Found::Step(Step::File(headers)),
            _ => Found::NextStage,
        })
    }

    fn body_start(&mut self) -> Found {
        let delimiter = self.delimiter.needle();
        if self.buffer.len() < delimiter.len() && delimiter.starts_with(&self.buffer) {
            return Found::Nothing;
        }
        if !self.buffer.starts_with(delimiter) {
            let line_break = if self.buffer.starts_with(b"\r") { 2 } else { 1 };
            self.buffer.advance(line_break.min(self.buffer.len()));
        }
        self.stage = Stage::Body;
        Found::NextStage
    }

    fn body(&mut self) -> Result<Found, Malformed> {
        if matches!(self.part, Part::Metadata) {
            self.metadata()
        } else {
            Ok(self.content())
        }
    }

    /// The first part, which must be whole and a JSON object.
    fn metadata(&mut self) -> Result<Found, Malformed> {
        let Some(end) = self.delimiter.find(&self.buffer) else {
            return self.within(MAX_METADATA, Malformed::Metadata);
        };
        if end > MAX_METADATA {
            return Err(Malformed::Metadata);
        }
        let metadata = self.buffer.split_to(end);
        serde_json::from_slice::<Map<String, Value>>(&metadata).map_err(|_| Malformed::Metadata)?;
        self.end_part(Part::File);
        Ok(Found::NextStage)
    }

    /// As much as has come of another part.
    fn content(&mut self) -> Found {
        let found = self.delimiter.find(&self.buffer);
        let end = found
            .unwrap_or_else(|| self.buffer.len() - start_of(self.delimiter.needle(), &self.buffer));
        let content = self.buffer.split_to(end).freeze();
        if found.is_some() {
            self.end_part(Part::None);
        }
        match (content.is_empty(), found) {
            (false, _) => Found::Step(Step::Content(content)),
            (true, Some(_)) => Found::NextStage,
            (true, None) => Found::Nothing,
        }
    }

    /// Waits for more, unless what is searched for cannot come within the limit any more.
    fn within(&self, limit: usize, error: Malformed) -> Result<Found, Malformed> {
        if self.buffer.len() > limit + self.delimiter.needle().len() {
            Err(error)
        } else {
            Ok(Found::Nothing)
        }
    }

    fn end_part(&mut self, next: Part) {
        self.buffer.advance(self.delimiter.needle().len());
        self.part = next;
        self.stage = Stage::BoundaryLine;
    }
}

enum Found {
    Step(Step),
    NextStage,
    Nothing,
}

/// How many bytes at the end of `bytes` may be the start of the delimiter.
fn start_of(delimiter: &[u8], bytes: &[u8]) -> usize {
    let longest = bytes.len().min(delimiter.len() - 1);
    let is_start = |length: &usize| {
        let end = bytes.get(bytes.len() - length..);
        end.is_some_and(|end| delimiter.starts_with(end))
    };
    (1..=longest).rev().find(is_start).unwrap_or(0)
}

/// The end of the last header, its line break included; the empty line follows. `None` if that has not arrived.
fn headers_end(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    loop {
        let line = bytes.get(start..)?;
        let length = memchr::memchr(b'\n', line)? + 1;
        if matches!(line.get(..length), Some(b"\n" | b"\r\n")) {
            return Some(start);
        }
        start += length;
    }
}

fn file_headers(bytes: &[u8]) -> Result<FileHeaders, Malformed> {
    let mut headers = FileHeaders::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        let colon = memchr::memchr(b':', line).ok_or(Malformed::Headers)?;
        let (name, value) = line.split_at(colon);
        let is_name = |byte: &u8| byte.is_ascii_graphic();
        if name.is_empty() || !name.iter().all(is_name) {
            return Err(Malformed::Headers);
        }
        let value = value.get(1..).unwrap_or_default().trim_ascii().to_vec();
        match () {
            () if name.eq_ignore_ascii_case(b"content-type") => headers.content_type = Some(value),
            () if name.eq_ignore_ascii_case(b"content-disposition") => {
                headers.content_disposition = Some(value);
            }
            () if name.eq_ignore_ascii_case(b"location") => headers.location = Some(value),
            () => {}
        }
    }
    Ok(headers)
}

/// The boundary in the content type `multipart/mixed`.
fn boundary(content_type: &str) -> Option<String> {
    let (essence, mut rest) = content_type.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/mixed") {
        return None;
    }
    loop {
        let (name, value) = rest.split_once('=')?;
        let (value, after) = if let Some(quoted) = value.strip_prefix('"') {
            unquote(quoted)?
        } else {
            let end = value.find(';').unwrap_or(value.len());
            let (value, after) = value.split_at(end);
            (value.trim_end().to_owned(), after)
        };
        if name.trim().eq_ignore_ascii_case("boundary") {
            return is_boundary(&value).then_some(value);
        }
        rest = after.trim_start().strip_prefix(';')?;
    }
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut letters = quoted.char_indices();
    loop {
        match letters.next()? {
            (end, '"') => return Some((text, quoted.get(end + 1..)?)),
            (_, '\\') => text.push(letters.next()?.1),
            (_, letter) => text.push(letter),
        }
    }
}

fn is_boundary(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    (1..=MAX_BOUNDARY).contains(&text.len()) && text.bytes().all(is_allowed) && !text.ends_with(' ')
}

#[cfg(test)]
mod tests;
