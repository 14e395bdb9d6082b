//! The postmaster: the first process of the cluster, started by us or left by a crash of ours.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::{io::unix::AsyncFd, process::Child};

use crate::{Error, binaries::Binaries, cluster, directory::Directory, options::options};

/// Replaying the log after a crash may take long.
const READY_WITHIN: Duration = Duration::from_mins(5);
const STOP_WITHIN: Duration = Duration::from_mins(1);

/// A running postmaster.
#[derive(Debug)]
pub(crate) struct Postmaster {
    pid: Pid,
    /// Readable once the process has ended; unlike a pid it never means another process.
    ended: AsyncFd<OwnedFd>,
    /// Kept to be reaped, if it is a child of this process.
    child: Mutex<Option<Child>>,
}

impl Postmaster {
    /// Takes over the postmaster that runs on this cluster, or starts one, and waits until it answers.
    pub(crate) async fn adopt_or_start(
        directory: &Directory,
        binaries: &Binaries,
        fsync: bool,
    ) -> Result<Self, Error> {
        if let Some(pid) = left_behind(&directory.cluster())
            && let Ok(postmaster) = Self::of(pid, None)
        {
            match postmaster.ready(directory).await {
                Ok(()) => {
                    tracing::warn!(
                        pid = postmaster.pid(),
                        "Taking over a PostgreSQL that was left running"
                    );
                    return Ok(postmaster);
                }
                // It was being stopped when its Chancery was killed.
                Err(Error::Program { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let postmaster = Self::spawn(directory, binaries, fsync)?;
        postmaster.ready(directory).await?;
        Ok(postmaster)
    }

    fn spawn(directory: &Directory, binaries: &Binaries, fsync: bool) -> Result<Self, Error> {
        forget_stale_lock(&directory.cluster())?;
        let log_path = directory.beside("log");
        let log = File::create(&log_path).map_err(Error::file(&log_path))?;
        directory.give(&log_path)?;
        let program = binaries.program("postgres");
        let mut command = directory.command(&program);
        command
            .arg("-D")
            .arg(directory.reached("cluster"))
            .stdout(std::process::Stdio::null())
            .stderr(log);
        for option in options(&directory.reached("run").to_string_lossy(), fsync) {
            command.args(["-c", &option]);
        }
        let child = directory
            .inherited(|| command.spawn())
            .map_err(Error::file(&program))?;
        let pid = child
            .id()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let Some(pid) = pid else {
            return Err(Error::program(
                "postgres",
                directory.cluster(),
                &tail(&log_path),
            ));
        };
        Self::of(pid, Some(child)).map_err(Error::file(program))
    }

    #[expect(
        deprecated,
        reason = "an OwnedFd always answers with the same descriptor, which it keeps open"
    )]
    fn of(pid: Pid, child: Option<Child>) -> io::Result<Self> {
        let ended = AsyncFd::new(pidfd_open(pid, PidfdFlags::empty())?)?;
        Ok(Self {
            pid,
            ended,
            child: Mutex::new(child),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits until the process has ended.
    pub(crate) async fn exited(&self) {
        // An error would mean that the runtime is going away; then nobody waits any more.
        drop(self.ended.readable().await);
        if let Some(child) = self.child.lock().as_mut() {
            // Reaps it; that it has ended is known.
            drop(child.try_wait());
        }
    }

    async fn ready(&self, directory: &Directory) -> Result<(), Error> {
        let log = directory.beside("log");
        let connection = directory.connection();
        let answering = async {
            // There is no signal to wait for: a postmaster tells nobody that it accepts connections.
            while !cluster::answers(&connection).await {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        };
        tokio::select! {
            () = answering => Ok(()),
            () = self.exited() => Err(Error::program("postgres", directory.cluster(), &tail(&log))),
            () = tokio::time::sleep(READY_WITHIN) => Err(Error::NotReady { seconds: READY_WITHIN.as_secs(), log }),
        }
    }

    /// Ends the cluster: sessions are ended, memory is written out.
    pub(crate) async fn stop(&self) -> Result<(), Error> {
        // Fast shutdown; if that takes too long an immediate one, from which the next start recovers.
        for signal in [Signal::INT, Signal::QUIT] {
            match kill_process(self.pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(Error::file("postgres")(error.into())),
            }
            if tokio::time::timeout(STOP_WITHIN, self.exited())
                .await
                .is_ok()
            {
                return Ok(());
            }
        }
        Err(Error::DoesNotStop(self.pid()))
    }
}

/// The postmaster that runs on this cluster, if there is one.
fn left_behind(cluster: &Path) -> Option<Pid> {
    let pid = recorded(cluster)?;
    is_postmaster_of(pid, cluster).then_some(pid)
}

/// The process id in `postmaster.pid`.
fn recorded(cluster: &Path) -> Option<Pid> {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
}

/// Whether the process works in the cluster's directory, as every process of PostgreSQL does.
fn is_postmaster_of(pid: Pid, cluster: &Path) -> bool {
    let working_directory = format!("/proc/{}/cwd", pid.as_raw_nonzero());
    match (fs::metadata(working_directory), fs::metadata(cluster)) {
        (Ok(process), Ok(cluster)) => {
            (process.dev(), process.ino()) == (cluster.dev(), cluster.ino())
        }
        _ => false,
    }
}

/// Removes a `postmaster.pid` whose process id now belongs to another program, as happens after a reboot.
///
/// PostgreSQL would take that program for a postmaster and refuse to start.
fn forget_stale_lock(cluster: &Path) -> Result<(), Error> {
    let Some(pid) = recorded(cluster) else {
        return Ok(());
    };
    let lock = cluster.join("postmaster.pid");
    if rustix::process::test_kill_process(pid).is_ok() && !is_postmaster_of(pid, cluster) {
        fs::remove_file(&lock).map_err(Error::file(lock))?;
    }
    Ok(())
}

/// The end of the log.
fn tail(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("its log {} cannot be read: {error}", log.display()))
}
