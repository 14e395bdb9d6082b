//! A Matrix client that holds one connection: just enough HTTP/1.1.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

/// No answer takes longer: a server that hangs fails the test.
const ANSWER_WITHIN: Duration = Duration::from_mins(2);

/// One user's device.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) user_id: String,
    pub(super) device_id: String,
    token: String,
}

const PASSWORD: &str = "correct horse battery staple";

/// A connection to the server.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    address: String,
}

/// What the server answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: bool,
    pub(super) body: Value,
}

/// An answer whose body is a file.
pub(super) struct File {
    pub(super) status: u16,
    head: String,
    pub(super) content: Vec<u8>,
}

impl File {
    /// A header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = headers.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value)
    }

    /// The `errcode` of an error.
    pub(super) fn errcode(&self) -> Value {
        let body: Value = serde_json::from_slice(&self.content).unwrap();
        body["errcode"].clone()
    }
}

impl Connection {
    pub(super) fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self {
            stream: BufReader::new(stream),
            address: address.to_owned(),
        })
    }

    /// Sends one request and reads the answer. A path is that of the client API's version 3, unless it
    /// begins with a slash.
    pub(super) fn call(
        &mut self,
        method: &str,
        path: &str,
        token: &str,
        body: &Value,
    ) -> io::Result<Answer> {
        let body = body.to_string();
        let path = match path.strip_prefix('/') {
            Some(path) => path.to_owned(),
            None => format!("_matrix/client/v3/{path}"),
        };
        let request = format!(
            "{method} /{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len(),
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let (mut length, mut retry_after) = (0, false);
        loop {
            let line = self.line()?.to_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("retry-after", _)) => retry_after = true,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Answer {
            status: status.ok_or(io::ErrorKind::InvalidData)?,
            retry_after,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Answer {
    /// The body of an answer that must be a success.
    pub(super) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }
}

impl Client {
    pub(super) fn register(address: &str, name: &str) -> Self {
        let body = json!({
            "username": name, "password": PASSWORD, "auth": { "type": "m.login.dummy" },
        });
        Self::new(address, "register", &body)
    }

    /// The user on a further device.
    pub(super) fn login(address: &str, name: &str) -> Self {
        let body = json!({
            "type": "m.login.password", "password": PASSWORD,
            "identifier": { "type": "m.id.user", "user": name },
        });
        Self::new(address, "login", &body)
    }

    fn new(address: &str, path: &str, body: &Value) -> Self {
        let mut connection = Connection::open(address).unwrap();
        let answer = connection.call("POST", path, "", body).unwrap().ok();
        let text = |field: &str| answer[field].as_str().unwrap().to_owned();
        Self {
            user_id: text("user_id"),
            device_id: text("device_id"),
            token: text("access_token"),
        }
    }

    /// Calls on a connection of its own; the answer must be a success.
    pub(super) fn ok(&self, address: &str, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.call(address, method, path, body);
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
        answer.body
    }

    /// Calls on a connection of its own.
    pub(super) fn call(&self, address: &str, method: &str, path: &str, body: &Value) -> Answer {
        let mut connection = Connection::open(address).unwrap();
        connection.call(method, path, &self.token, body).unwrap()
    }

    /// Uploads a file and returns `server/id`.
    pub(super) fn upload(
        &self,
        address: &str,
        filename: &str,
        content_type: &str,
        content: &[u8],
    ) -> String {
        let path = format!("/_matrix/media/v3/upload?filename={filename}");
        let file = self.exchange(address, "POST", &path, content_type, content);
        let answer: Value = serde_json::from_slice(&file.content).unwrap();
        let uri = answer["content_uri"].as_str().unwrap();
        uri.strip_prefix("mxc://").unwrap().to_owned()
    }

    /// Uploads a file under a path of its own.
    pub(super) fn put_file(&self, address: &str, path: &str, content_type: &str, content: &[u8]) {
        let answer = self.exchange(address, "PUT", path, content_type, content);
        assert_eq!(answer.status, 200);
    }

    /// Calls a path of any API without a body; the answer must be a success.
    pub(super) fn post(&self, address: &str, path: &str) -> Value {
        let answer = self.exchange(address, "POST", path, "application/json", b"{}");
        assert_eq!(answer.status, 200);
        serde_json::from_slice(&answer.content).unwrap()
    }

    /// Calls a path of any API, on a connection of its own, and reads the answer as it is.
    pub(super) fn file(&self, address: &str, path: &str) -> File {
        self.exchange(address, "GET", path, "text/plain", b"")
    }

    fn exchange(
        &self,
        address: &str,
        method: &str,
        path: &str,
        content_type: &str,
        content: &[u8],
    ) -> File {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(ANSWER_WITHIN)).unwrap();
        // Of a version whose bodies end with the connection.
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            self.token,
            content.len(),
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(content).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let (head, content) = answer.split_at(end.unwrap() + 4);
        let head = str::from_utf8(head).unwrap().to_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        File {
            status,
            head,
            content: content.to_vec(),
        }
    }

    /// Sends a message that says its transaction id.
    pub(super) fn send(
        &self,
        connection: &mut Connection,
        room_id: &str,
        transaction: &str,
    ) -> io::Result<Answer> {
        let path = format!("rooms/{room_id}/send/m.room.message/{transaction}");
        let body = json!({ "msgtype": "m.text", "body": transaction.replace("%20", " ") });
        connection.call("PUT", &path, &self.token, &body)
    }
}
