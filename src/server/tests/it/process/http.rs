//! Just enough HTTP/1.1 to ask a question.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// The status and the body of an answer; status 0 if there was none.
pub(super) fn get(address: &str, path: &str) -> (u16, String) {
    ask(address, "GET", path, "").unwrap_or_default()
}

/// The same of a request that puts a body there.
pub(super) fn put(address: &str, path: &str, body: &str) -> (u16, String) {
    ask(address, "PUT", path, body).unwrap_or_default()
}

fn ask(address: &str, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len(),
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
