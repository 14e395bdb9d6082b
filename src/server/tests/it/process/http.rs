//! Just enough HTTP/1.1 to ask a question.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// The status and the body of an answer; status 0 if there was none.
pub(super) fn get(address: &str, path: &str) -> (u16, String) {
    ask(address, path).unwrap_or_default()
}

fn ask(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
