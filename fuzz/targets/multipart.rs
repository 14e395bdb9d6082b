//! Bodies with a file, as other servers send them.
#![no_main]

use federation::multipart::{FileHeaders, Malformed, MultipartReader, Step};
use libfuzzer_sys::fuzz_target;

type File = (Option<FileHeaders>, Vec<u8>);

fn read(content_type: &str, body: &[u8], chunk: usize) -> Result<File, Malformed> {
    let mut reader = MultipartReader::new(content_type)?;
    let (mut chunks, mut is_end) = (body.chunks(chunk), false);
    let (mut headers, mut content) = (None, Vec::new());
    loop {
        match reader.step(is_end)? {
            Step::Incomplete => match chunks.next() {
                Some(bytes) => reader.feed(bytes),
                None => is_end = true,
            },
            Step::File(found) => assert!(headers.replace(found).is_none()),
            Step::Content(bytes) => content.extend_from_slice(&bytes),
            Step::End => return Ok((headers, content)),
        }
    }
}

fuzz_target!(|input: (u8, &str, &[u8])| {
    let (chunk, content_type, body) = input;
    // Whatever the boundary is, it can be read in a body that has it.
    for content_type in [content_type, "multipart/mixed; boundary=a"] {
        let whole = read(content_type, body, body.len().max(1));
        let parts = read(content_type, body, usize::from(chunk).max(1));
        match (whole, parts) {
            (Ok(whole), Ok(parts)) => assert_eq!(whole, parts),
            // A limit may be found exceeded earlier or later.
            (whole, parts) => assert!(whole.is_err() && parts.is_err()),
        }
    }
});
