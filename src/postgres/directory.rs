//! The directory of the managed PostgreSQL: its owner, its lock, and the paths that the programs use.
//!
//! ```text
//! data_dir/postgres/            only its owner may enter
//!     server_name               the server name that the data belongs to
//!     lock                      held by the process that supervises the cluster
//!     log                       the messages of PostgreSQL
//!     cluster/                  PGDATA
//!     run/.s.PGSQL.5432         the socket, and its lock file
//! ```

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{DirBuilderExt, PermissionsExt, chown},
    },
    path::{Path, PathBuf},
};

use ruma::ServerName;
use rustix::{
    fs::{FlockOperation, flock},
    io::{FdFlags, fcntl_setfd},
};
use sqlx::postgres::PgConnectOptions;

use crate::{Error, binaries::Binaries, owner::Owner};

/// The name of the role and of the database.
pub(crate) const NAME: &str = "chancery";

/// `sockaddr_un` holds 107 bytes and a terminator.
const MAX_SOCKET_PATH: usize = 107;
const SOCKET: &str = ".s.PGSQL.5432";

/// The directory of the managed PostgreSQL, locked for this process.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// `path` as the programs get it; see [`Directory::choose_program_path`].
    program_path: PathBuf,
    /// The directory of the socket, as this process opens it.
    socket: PathBuf,
    run_as: Option<Owner>,
    handle: File,
    _lock: File,
}

impl Directory {
    /// Creates the directory unless it exists, and locks it.
    pub(crate) fn open(data_dir: &Path, run_as: Option<Owner>) -> Result<Self, Error> {
        // Others may traverse it, so that the user who runs PostgreSQL reaches its own directory.
        create_directory(data_dir, 0o711, None)?;
        let data_dir = data_dir.canonicalize().map_err(Error::file(data_dir))?;
        let path = data_dir.join("postgres");
        create_directory(&path, 0o700, run_as)?;
        create_directory(&path.join("run"), 0o700, run_as)?;
        let lock_path = path.join("lock");
        let lock = File::create(&lock_path).map_err(Error::file(&lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::InUse(data_dir)),
            Err(error) => return Err(Error::file(lock_path)(error.into())),
        }
        let handle = File::open(&path).map_err(Error::file(&path))?;
        let (program_path, socket) = (path.clone(), path.join("run"));
        Ok(Self {
            path,
            program_path,
            socket,
            run_as,
            handle,
            _lock: lock,
        })
    }

    /// Records the server name that the data belongs to; fails if it is recorded with another one.
    pub(crate) fn check_server_name(&self, server_name: &ServerName) -> Result<(), Error> {
        let marker = self.path.join("server_name");
        match fs::read_to_string(&marker) {
            Ok(found) if found.trim() == server_name => Ok(()),
            Ok(found) if !found.trim().is_empty() => Err(Error::ForeignServer {
                path: self.path.parent().unwrap_or(&self.path).to_owned(),
                found: found.trim().to_owned(),
                expected: server_name.to_string(),
            }),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file(marker)(error))
            }
            _ => fs::write(&marker, format!("{server_name}\n")).map_err(Error::file(marker)),
        }
    }

    /// Chooses the path by which the programs open this directory.
    ///
    /// Their user may not be allowed to traverse the directories above it, and a socket's path must be
    /// short. In both cases they use the open directory that they inherit from this process.
    pub(crate) fn choose_program_path(mut self, binaries: &Binaries) -> Result<Self, Error> {
        let inherited = PathBuf::from(format!("/proc/self/fd/{}", self.handle.as_raw_fd()));
        let too_long = self.socket.join(SOCKET).as_os_str().len() > MAX_SOCKET_PATH;
        if too_long {
            self.socket = inherited.join("run");
        }
        if too_long || !self.is_accessible(binaries)? {
            self.program_path = inherited;
        }
        Ok(self)
    }

    /// Whether the user who runs PostgreSQL can open this directory by its plain path.
    fn is_accessible(&self, binaries: &Binaries) -> Result<bool, Error> {
        let postgres = binaries.program("postgres");
        let mut command = std::process::Command::new(&postgres);
        // The working directory is entered after the user has been changed.
        self.set_user(&mut command)
            .arg("--version")
            .current_dir(&self.path);
        match command.output() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
            Err(error) => Err(Error::file(postgres)(error)),
        }
    }

    /// A command that runs as the user who owns this directory.
    pub(crate) fn command(&self, program: &Path) -> tokio::process::Command {
        let mut command = std::process::Command::new(program);
        self.set_user(&mut command);
        command.into()
    }

    fn set_user<'a>(
        &self,
        command: &'a mut std::process::Command,
    ) -> &'a mut std::process::Command {
        use std::os::unix::process::CommandExt;
        if let Some((user, group)) = self.run_as {
            command.uid(user).gid(group);
        }
        // A process group of its own: Ctrl-C at the terminal is for Chancery, which stops PostgreSQL last.
        command
            .process_group(0)
            .stdin(std::process::Stdio::null())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
    }

    /// Runs `spawn` while new processes inherit the open directory.
    pub(crate) fn with_inherited_handle<T>(
        &self,
        spawn: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        fcntl_setfd(self.handle.as_fd(), FdFlags::empty())?;
        let result = spawn();
        fcntl_setfd(self.handle.as_fd(), FdFlags::CLOEXEC)?;
        result
    }

    /// The path and the major version of the cluster, if there is one.
    pub(crate) fn cluster_version(&self) -> Result<Option<(PathBuf, String)>, Error> {
        let file = self.cluster().join("PG_VERSION");
        match fs::read_to_string(&file) {
            Ok(version) => Ok(Some((self.cluster(), version.trim().to_owned()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file(file)(error)),
        }
    }

    /// How to connect, whether or not it is running.
    pub(crate) fn connect_options(&self) -> PgConnectOptions {
        connect_options(&self.socket)
    }

    /// The cluster's directory, as this process opens it.
    pub(crate) fn cluster(&self) -> PathBuf {
        self.path.join("cluster")
    }

    /// A file or directory in this directory, as this process opens it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A file or directory in this directory, as the programs open it.
    pub(crate) fn program_path(&self, name: &str) -> PathBuf {
        self.program_path.join(name)
    }

    /// Makes the user who runs PostgreSQL the owner of a file or directory.
    pub(crate) fn set_owner(&self, path: &Path) -> Result<(), Error> {
        set_owner(path, self.run_as)
    }
}

/// The directory of the socket, below a server's data directory.
pub(crate) fn socket_directory(data_dir: &Path) -> PathBuf {
    data_dir.join("postgres").join("run")
}

/// How to connect through a socket.
pub(crate) fn connect_options(socket_directory: &Path) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(socket_directory)
        .port(5432)
        .username(NAME)
        .database(NAME)
}

fn create_directory(path: &Path, mode: u32, owner: Option<Owner>) -> Result<(), Error> {
    if !path.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .map_err(Error::file(path))?;
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(Error::file(path))?;
    }
    set_owner(path, owner)
}

fn set_owner(path: &Path, owner: Option<Owner>) -> Result<(), Error> {
    let Some((user, group)) = owner else {
        return Ok(());
    };
    chown(path, Some(user), Some(group)).map_err(Error::file(path))
}
