//! The postmaster: the first process of the cluster, started by this process or left by one that crashed.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::fd::OwnedFd,
    path::Path,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::{io::unix::AsyncFd, process::Child};

use crate::{
    Error, binaries::Binaries, cluster, directory::Directory, lock_files, options::options,
    process::exit_event,
};

/// Replaying the log after a crash may take long.
const START_TIMEOUT: Duration = Duration::from_mins(5);
const STOP_TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// A running postmaster.
#[derive(Debug)]
pub(crate) struct Postmaster {
    pid: Pid,
    /// Readable once the process has exited; unlike a pid it never means another process.
    exit: AsyncFd<OwnedFd>,
    /// Kept to be reaped, if it is a child of this process.
    child: Mutex<Option<Child>>,
}

impl Postmaster {
    /// Adopts the postmaster that is running on this cluster, or starts one, and waits until it accepts
    /// connections.
    pub(crate) async fn adopt_or_start(
        directory: &Directory,
        binaries: &Binaries,
        fsync: bool,
    ) -> Result<Self, Error> {
        if let Some(pid) = lock_files::find_postmaster(directory)
            && let Ok(postmaster) = Self::attach(pid, None)
        {
            match postmaster.wait_until_ready(directory).await {
                Ok(()) => {
                    tracing::warn!(
                        pid = postmaster.pid(),
                        "Adopted a PostgreSQL that was left running"
                    );
                    return Ok(postmaster);
                }
                // It was already being stopped.
                Err(Error::Program { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        lock_files::clear_stale(directory).await?;
        let postmaster = Self::spawn(directory, binaries, fsync)?;
        postmaster.wait_until_ready(directory).await?;
        Ok(postmaster)
    }

    pub(crate) fn spawn(
        directory: &Directory,
        binaries: &Binaries,
        fsync: bool,
    ) -> Result<Self, Error> {
        let log_path = directory.path("log");
        let log = File::create(&log_path).map_err(Error::file(&log_path))?;
        directory.set_owner(&log_path)?;
        let program = binaries.program("postgres");
        let mut command = directory.command(&program);
        command
            .arg("-D")
            .arg(directory.program_path("cluster"))
            .stdout(std::process::Stdio::null())
            .stderr(log);
        for option in options(&directory.program_path("run").to_string_lossy(), fsync) {
            command.args(["-c", &option]);
        }
        let child = directory
            .with_inherited_handle(|| command.spawn())
            .map_err(Error::file(&program))?;
        let pid = child
            .id()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let Some(pid) = pid else {
            return Err(Error::program(
                "postgres",
                directory.cluster(),
                &log_tail(&log_path),
            ));
        };
        Self::attach(pid, Some(child)).map_err(Error::file(program))
    }

    fn attach(pid: Pid, child: Option<Child>) -> io::Result<Self> {
        Ok(Self {
            pid,
            exit: exit_event(pidfd_open(pid, PidfdFlags::empty())?)?,
            child: Mutex::new(child),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits until the process has exited.
    pub(crate) async fn exited(&self) {
        // It fails only while the runtime shuts down.
        drop(self.exit.readable().await);
        if let Some(child) = self.child.lock().as_mut() {
            // Only reaps it: it is known to have exited.
            drop(child.try_wait());
        }
    }

    pub(crate) async fn wait_until_ready(&self, directory: &Directory) -> Result<(), Error> {
        let log = directory.path("log");
        let options = directory.connect_options();
        let ready = async {
            // A postmaster gives no signal when it begins to accept connections.
            while !cluster::accepts_connections(&options).await {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::select! {
            () = ready => Ok(()),
            () = self.exited() => Err(Error::program("postgres", directory.cluster(), &log_tail(&log))),
            () = tokio::time::sleep(START_TIMEOUT) => Err(Error::NotReady { seconds: START_TIMEOUT.as_secs(), log }),
        }
    }

    /// Stops the cluster: sessions are terminated, memory is written to disk.
    pub(crate) async fn stop(&self) -> Result<(), Error> {
        // A fast shutdown; if that takes too long an immediate one, from which the next start recovers.
        for signal in [Signal::INT, Signal::QUIT] {
            match kill_process(self.pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(Error::file("postgres")(error.into())),
            }
            if tokio::time::timeout(STOP_TIMEOUT, self.exited())
                .await
                .is_ok()
            {
                return Ok(());
            }
        }
        Err(Error::DoesNotStop(self.pid()))
    }
}

/// The last 4 KiB of the log.
fn log_tail(log: &Path) -> String {
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
