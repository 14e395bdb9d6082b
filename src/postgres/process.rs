//! The server processes of a cluster, found in `/proc`.

use std::{
    fs,
    io::{self, ErrorKind},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, test_kill_process};
use tokio::io::unix::AsyncFd;

/// How long processes get to exit after a `SIGQUIT`, which they handle at once.
const QUIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether `pid` is, or cannot be distinguished from, a live server process of the cluster.
///
/// A zombie is not, nor is another program that got the same id later.
pub(crate) fn is_live_server(pid: Pid, cluster: &Path) -> bool {
    let Some(status) = Status::read(pid) else {
        // `/proc` may hide other users' processes, or not be mounted; a process that can be signalled exists.
        return test_kill_process(pid).is_ok();
    };
    status.may_be_postgres()
        && works_in(pid, cluster)
            // The name is public, the directory is not: root without CAP_SYS_PTRACE, as in a container, may
            // not read it for a process of another user.
            .unwrap_or_else(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// Terminates the server processes of a cluster whose postmaster is dead, and waits until they have exited.
///
/// Most of them notice that by themselves at once, but a session notices it only at the end of its statement.
pub(crate) async fn quit_orphans(cluster: &Path) {
    for orphan in orphans(cluster) {
        if let Err(error) = quit(orphan).await {
            // PostgreSQL refuses to start beside it, by the shared memory that it holds.
            tracing::warn!(pid = %orphan, %error, "A process of a dead PostgreSQL cannot be terminated");
        }
    }
}

fn orphans(cluster: &Path) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(|pid| Status::read(*pid).is_some_and(|status| status.may_be_postgres()))
        .filter(|pid| works_in(*pid, cluster).unwrap_or(false))
        .collect()
}

async fn quit(pid: Pid) -> io::Result<()> {
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    pidfd_send_signal(&process, Signal::QUIT)?;
    let exited = exit_event(process)?;
    match tokio::time::timeout(QUIT_TIMEOUT, exited.readable()).await {
        Ok(readable) => readable.map(drop),
        Err(_) => Err(ErrorKind::TimedOut.into()),
    }
}

/// Wraps a pidfd; it becomes readable when the process has exited.
#[expect(
    deprecated,
    reason = "an OwnedFd always returns the same descriptor, which it keeps open"
)]
pub(crate) fn exit_event(process: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(process)
}

/// The parts of `/proc/PID/stat` that are needed here.
struct Status {
    name: String,
    state: char,
}

impl Status {
    fn read(pid: Pid) -> Option<Self> {
        let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        Self::parse(&String::from_utf8_lossy(&stat))
    }

    /// `7 (postgres) S 1 …`; the name may hold spaces and parentheses.
    fn parse(stat: &str) -> Option<Self> {
        let (head, tail) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        Some(Self {
            name: name.to_owned(),
            state: tail.trim_start().chars().next()?,
        })
    }

    /// Whether the process runs a program named like PostgreSQL's, perhaps behind a wrapper.
    fn may_be_postgres(&self) -> bool {
        // Z: a zombie, which has exited but was not reaped by its parent. X, x: dead.
        !matches!(self.state, 'Z' | 'X' | 'x') && self.name.contains("postgres")
    }
}

/// Whether a process has the cluster as its working directory, as all server processes of PostgreSQL do.
fn works_in(pid: Pid, cluster: &Path) -> io::Result<bool> {
    let working = fs::metadata(format!("/proc/{}/cwd", pid.as_raw_nonzero()))?;
    let cluster = fs::metadata(cluster)?;
    Ok((working.dev(), working.ino()) == (cluster.dev(), cluster.ino()))
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_state() {
        let status = Status::parse("7 (a) S) (b) Z 1 7").unwrap();
        assert_eq!((&*status.name, status.state), ("a) S) (b", 'Z'));
    }

    #[test]
    fn zombies_and_other_programs_are_not_postgres() {
        let is_postgres = |stat| Status::parse(stat).unwrap().may_be_postgres();
        assert!(is_postgres("7 (postgres) S 1"));
        assert!(is_postgres("7 (.postgres-wrapp) R 1"));
        assert!(!is_postgres("7 (postgres) Z 1"));
        assert!(!is_postgres("7 (sleep) S 1"));
    }
}
