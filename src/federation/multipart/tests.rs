use super::*;

const TYPE: &str = "multipart/mixed; boundary=abc";

/// What is read of a body that arrives in chunks of this many bytes.
fn read_in_chunks(body: &[u8], length: usize) -> Result<(FileHeaders, Vec<u8>), Malformed> {
    let mut reader = MultipartReader::new(TYPE)?;
    let (mut chunks, mut headers, mut content) = (body.chunks(length), None, Vec::new());
    let mut is_end = false;
    loop {
        match reader.step(is_end)? {
            Step::Incomplete => match chunks.next() {
                Some(chunk) => reader.feed(chunk),
                None => is_end = true,
            },
            Step::File(found) => assert_eq!(headers.replace(found), None),
            Step::Content(bytes) => content.extend_from_slice(&bytes),
            Step::End => return Ok((headers.unwrap(), content)),
        }
    }
}

/// However the body arrives, the same is read of it.
fn read(body: impl AsRef<[u8]>) -> Result<(FileHeaders, Vec<u8>), Malformed> {
    let body = body.as_ref();
    let read = read_in_chunks(body, body.len().max(1));
    for length in [1, 2, 3, 5, 7, 16] {
        assert_eq!(read_in_chunks(body, length), read);
    }
    read
}

fn file(content_type: &str, content: &str) -> (FileHeaders, Vec<u8>) {
    let headers = FileHeaders {
        content_type: Some(content_type.as_bytes().to_vec()),
        ..FileHeaders::default()
    };
    (headers, content.as_bytes().to_vec())
}

#[test]
fn a_file_is_read_in_whatever_pieces_it_arrives() {
    let body = "\r\n--abc\r\nContent-Type: application/json\r\n\r\n{}\r\n--abc\r\n\
        Content-Type: image/png\r\n\r\ncontent\r\n--abc--\r\n";
    assert_eq!(read(body), Ok(file("image/png", "content")));
    let without_first_line_break = body.strip_prefix("\r\n").unwrap();
    assert_eq!(
        read(without_first_line_break),
        Ok(file("image/png", "content"))
    );
    assert_eq!(
        read(format!("preamble{body}epilogue")),
        Ok(file("image/png", "content"))
    );
}

#[test]
fn what_other_servers_write_a_little_differently_is_read_too() {
    // No hyphens at the end, no headers of the metadata, plain line breaks in headers, spaces after a boundary.
    let body = "--abc\r\n\r\n{}\r\n--abc \t\r\ncontent-TYPE:a/b \nX: y\n\ncontent\r\n--abc";
    assert_eq!(read(body), Ok(file("a/b", "content")));
}

#[test]
fn text_like_a_boundary_is_content() {
    let content = "abc--abc\r\n--ab\r\r\n-abc\r\n\r\n--ABC\n--abc";
    let body =
        format!("--abc\r\n\r\n{{}}\r\n--abc\r\nContent-Type: a/b\r\n\r\n{content}\r\n--abc--");
    assert_eq!(read(body), Ok(file("a/b", content)));
}

#[test]
fn a_location_needs_no_content() {
    for end in ["\r\n\r\n--abc--", "\r\n\r\n\r\n--abc--"] {
        let body = format!("--abc\r\n\r\n{{}}\r\n--abc\r\nLocation: https://a.test/b?c:d{end}");
        let (headers, content) = read(body).unwrap();
        assert_eq!(
            headers.location.as_deref(),
            Some(&b"https://a.test/b?c:d"[..])
        );
        assert_eq!(content, b"");
    }
}

#[test]
fn an_empty_file_is_a_file() {
    for end in ["\r\n\r\n--abc--", "\r\n\r\n\r\n--abc--"] {
        let body = format!("--abc\r\n\r\n{{}}\r\n--abc\r\nContent-Type: a/b{end}");
        assert_eq!(read(body), Ok(file("a/b", "")));
    }
}

#[test]
fn truncated_bodies_are_incomplete() {
    let body = "\r\n--abc\r\nContent-Type: application/json\r\n\r\n{}\r\n--abc\r\n\
        Content-Type: image/png\r\n\r\ncontent\r\n--abc";
    for end in 0..body.len() {
        assert_eq!(read(&body[..end]), Err(Malformed::Incomplete), "{end}");
    }
    assert_eq!(
        read("--abc\r\n\r\n{}\r\n--abc--\r\n"),
        Err(Malformed::Incomplete)
    );
    assert_eq!(read("--abc--"), Err(Malformed::Incomplete));
}

#[test]
fn the_metadata_comes_first_and_is_an_object() {
    for metadata in ["[]", "null", "content", "", "{} {}"] {
        let body = format!("--abc\r\n\r\n{metadata}\r\n--abc\r\n\r\ncontent\r\n--abc--");
        assert_eq!(read(body), Err(Malformed::Metadata), "{metadata}");
    }
    let swapped = "--abc\r\nContent-Type: a/b\r\n\r\ncontent\r\n--abc\r\n\r\n{}\r\n--abc--";
    assert_eq!(read(swapped), Err(Malformed::Metadata));
}

#[test]
fn endless_parts_are_given_up() {
    let endless = |start: &str, repeated: &str| {
        let mut reader = MultipartReader::new(TYPE).unwrap();
        reader.feed(start.as_bytes());
        for _ in 0..100_000 {
            reader.feed(repeated.as_bytes());
            match reader.step(false) {
                Ok(Step::Incomplete) => {}
                Ok(step) => panic!("{step:?}"),
                Err(error) => return error,
            }
        }
        panic!("{repeated} is read without end");
    };
    assert_eq!(endless("", "preamble\r\n"), Malformed::Preamble);
    assert_eq!(endless("--abc", " "), Malformed::Boundary);
    assert_eq!(endless("--abc\r\n", "A: b\r\n"), Malformed::Headers);
    assert_eq!(endless("--abc\r\n", "A"), Malformed::Headers);
    assert_eq!(endless("--abc\r\n\r\n", " "), Malformed::Metadata);
}

#[test]
fn content_is_passed_on_as_it_arrives() {
    let mut reader = MultipartReader::new(TYPE).unwrap();
    reader.feed(b"--abc\r\n\r\n{}\r\n--abc\r\n\r\n");
    assert_eq!(reader.step(false), Ok(Step::File(FileHeaders::default())));
    for _ in 0..1000 {
        reader.feed(&[b'\r'; 1000]);
        let Ok(Step::Content(_)) = reader.step(false) else {
            panic!("nothing is passed on");
        };
        assert_eq!(reader.step(false), Ok(Step::Incomplete));
        assert!(reader.buffer.len() < TYPE.len());
    }
}

#[test]
fn bad_headers_are_refused() {
    for headers in ["no colon", ": value", "two words: value", " folded: value"] {
        let body = format!("--abc\r\n{headers}\r\n\r\n{{}}\r\n--abc\r\n\r\n\r\n--abc--");
        assert_eq!(read(body), Err(Malformed::Headers), "{headers}");
    }
    assert_eq!(read("--abcd\r\n\r\n"), Err(Malformed::Boundary));
}

#[test]
fn the_boundary_is_read_from_the_content_type() {
    for (content_type, expected) in [
        ("multipart/mixed; boundary=abc", "abc"),
        ("Multipart/Mixed;BOUNDARY=abc", "abc"),
        (
            "multipart/mixed; charset=\"a;boundary=x\"; boundary=\"a b:c\"",
            "a b:c",
        ),
        (r#"multipart/mixed; boundary="a\?b"; x=y"#, "a?b"),
        ("multipart/mixed; x=y ; boundary=abc ; z", "abc"),
    ] {
        assert_eq!(boundary(content_type).as_deref(), Some(expected));
    }
    let long = format!("multipart/mixed; boundary={}", "a".repeat(71));
    for content_type in [
        "",
        "multipart/mixed",
        "multipart/mixed; boundary",
        "multipart/mixed; boundary=",
        "multipart/mixed; boundary=\"\"",
        "multipart/mixed; boundary=\"abc",
        "multipart/mixed; boundary=\"abc \"",
        "multipart/mixed; boundary=a\r\nb",
        "multipart/mixed; boundary=\u{e9}",
        "multipart/form-data; boundary=abc",
        "image/png",
        &long,
    ] {
        assert_eq!(boundary(content_type), None, "{content_type}");
    }
}
