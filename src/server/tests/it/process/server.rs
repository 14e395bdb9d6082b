//! A server in a process and a data directory of its own.

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader, Write as _},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::http;

/// How long a test may go on after it has started a server.
const START_AND_USE: Duration = Duration::from_mins(3);

/// A running server; its log is read as it comes.
pub(super) struct Server {
    process: Child,
    data: TempDir,
    log: Mutex<Log>,
}

struct Log {
    lines: mpsc::Receiver<String>,
    read: Vec<String>,
}

impl Server {
    pub(super) fn start(environment: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        fs::set_permissions(data.path(), Permissions::from_mode(0o755)).unwrap();
        Self::start_on(data, environment)
    }

    pub(super) fn start_on(data: TempDir, environment: &[(&str, &str)]) -> Self {
        let command = command(&data, environment);
        Self::start_by(command, data)
    }

    /// Starts the server by a command that ends up as it, and whose standard error is piped.
    pub(super) fn start_by(mut command: Command, data: TempDir) -> Self {
        testkit::time_limit(START_AND_USE);
        let mut process = command.spawn().unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // Read on even when nobody looks: a full pipe would stop the server.
        thread::spawn(move || {
            stderr
                .lines()
                .try_for_each(|line| sender.send(line.unwrap()))
        });
        let server = Self {
            process,
            data,
            log: Mutex::new(Log {
                lines,
                read: Vec::new(),
            }),
        };
        server.until_logged("Ready: point a Matrix client at");
        server
    }

    /// What a server says that does not start.
    pub(super) fn refused(data: &TempDir, environment: &[(&str, &str)]) -> String {
        let output = command(data, environment).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    /// Reads the log until a line contains `text`, and returns that line.
    pub(super) fn until_logged(&self, text: &str) -> String {
        let mut log = self.log.lock().unwrap();
        if let Some(line) = log.read.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        while let Ok(line) = log.lines.recv() {
            log.read.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
        panic!(
            "the server ended without saying {text:?}:\n{}",
            log.read.join("\n")
        );
    }

    /// Whether a line that was read so far contains `text`.
    pub(super) fn has_logged(&self, text: &str) -> bool {
        let log = self.log.lock().unwrap();
        log.read.iter().any(|line| line.contains(text))
    }

    /// The address in the line of the log that says `listening`.
    pub(super) fn address(&self, listening: &str) -> String {
        let line = self.until_logged(listening);
        let (_, address) = line.split_once("127.0.0.1:").unwrap();
        let port: String = address.chars().take_while(char::is_ascii_digit).collect();
        format!("127.0.0.1:{port}")
    }

    pub(super) fn get(&self, path: &str) -> (u16, String) {
        http::get(&self.clients(), path)
    }

    /// Where clients reach it.
    pub(super) fn clients(&self) -> String {
        self.address("Listening for clients")
    }

    /// Asks again and again until it is so; whoever runs the tests limits their time.
    pub(super) fn until(&self, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            thread::yield_now();
        }
    }

    /// The process id of its PostgreSQL, 0 while there is none.
    pub(super) fn postmaster(&self) -> u32 {
        let file = self
            .data
            .path()
            .join("data/postgres/cluster/postmaster.pid");
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines()
            .next()
            .and_then(|line| line.trim().parse().ok())
            .unwrap_or(0)
    }

    pub(super) fn data(&self) -> &TempDir {
        &self.data
    }

    /// The URL under which another process reaches its PostgreSQL.
    pub(super) fn database_url(&self) -> String {
        let run = self.data.path().join("data/postgres/run");
        format!(
            "postgres:///chancery?host={}&user=chancery",
            run.to_str().unwrap()
        )
    }

    /// Asks it to stop, and waits until it has.
    pub(super) fn terminate(mut self) -> TempDir {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::TERM).unwrap();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}");
        self.data
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Kills it as a power cut would.
    pub(super) fn kill(mut self) -> TempDir {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.data
    }
}

/// What a command printed.
pub(super) struct Printed {
    pub(super) success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs a command on the data of a server.
pub(super) fn chancery_on(data: &TempDir, arguments: &[&str], input: &str) -> Printed {
    let mut process = chancery(data)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    process
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = process.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Printed {
        success: output.status.success(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn command(data: &TempDir, environment: &[(&str, &str)]) -> Command {
    let mut command = chancery(data);
    command
        .arg("serve")
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    command
}

fn chancery(data: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("CHANCERY_DATA_DIR", data.path().join("data"))
        .env("CHANCERY_LISTEN", "127.0.0.1:0")
        .stderr(Stdio::piped());
    command
}
