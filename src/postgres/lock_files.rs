//! The lock files of a postmaster, and how stale ones are cleared.
//!
//! A postmaster writes its process id into `cluster/postmaster.pid` and into a file beside its socket. The next one
//! refuses to start while a process with that id exists, although it may be a zombie, or another program that
//! got the id after a reboot.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use rustix::process::Pid;

use crate::{Error, directory::Directory, process};

/// A process id that the kernel never gives: Linux has at most 2²² of them.
const NO_PROCESS: i32 = i32::MAX;

/// The postmaster that is running on the cluster, if there is one.
pub(crate) fn find_postmaster(directory: &Directory) -> Option<Pid> {
    let cluster = directory.cluster();
    [cluster_lock(directory), socket_lock(directory)]
        .iter()
        .filter_map(|file| pid_in(file))
        .find(|pid| process::is_live_server(*pid, &cluster))
}

/// Clears lock files that a dead postmaster has left; those of a live one stay.
pub(crate) async fn clear_stale(directory: &Directory) -> Result<(), Error> {
    if find_postmaster(directory).is_some() {
        return Ok(());
    }
    process::quit_orphans(&directory.cluster()).await;
    remove_stale(directory)
}

/// Makes PostgreSQL take the lock files for what they are, whatever their process id stands for.
pub(crate) fn remove_stale(directory: &Directory) -> Result<(), Error> {
    let (cluster_lock, socket_lock) = (cluster_lock(directory), socket_lock(directory));
    disown(&cluster_lock).map_err(Error::file(cluster_lock))?;
    remove(&socket_lock).map_err(Error::file(socket_lock))
}

/// Replaces the process id in `postmaster.pid` by one that no process has.
///
/// The rest stays: by the shared memory that it names PostgreSQL itself finds out whether processes of
/// the dead postmaster are left, and then refuses to start.
fn disown(file: &Path) -> io::Result<()> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    match text.split_once('\n') {
        Some((_, rest)) => fs::write(file, format!("{NO_PROCESS}\n{rest}")),
        // Not written to its end; PostgreSQL would not start beside it.
        None => remove(file),
    }
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// The process id in the first line of a lock file.
fn pid_in(file: &Path) -> Option<Pid> {
    let text = fs::read_to_string(file).ok()?;
    Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
}

fn cluster_lock(directory: &Directory) -> PathBuf {
    directory.cluster().join("postmaster.pid")
}

fn socket_lock(directory: &Directory) -> PathBuf {
    directory.path("run").join(".s.PGSQL.5432.lock")
}
