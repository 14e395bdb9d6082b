//! The handle to what is sent to other servers.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use federation::Federation;
use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use storage::Database;
use tokio::sync::Notify;

/// How servers are sent to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This server's name.
    pub server_name: OwnedServerName,
    /// The pause after a first failure; twice as long after each further one.
    pub first_pause: Duration,
    /// The longest pause after a failure.
    pub max_pause: Duration,
    /// How many servers are sent to at the same time.
    pub parallel: usize,
    /// How long a process is taken to work without a sign of life.
    pub lease: Duration,
    /// How many events may wait for a server that cannot be reached before all but the last of each
    /// room are left out.
    pub max_waiting: i64,
    /// Whether other servers are told the names of devices.
    pub send_device_names: bool,
}

/// Sends to other servers; cheap to clone.
#[derive(Clone)]
pub struct Delivery(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) database: Database,
    pub(crate) federation: Federation,
    /// Something may be due.
    pub(crate) wake: Notify,
    pub(crate) pauses: Mutex<Pauses>,
    /// How many servers are being sent to.
    pub(crate) sending: AtomicUsize,
}

/// What sending takes in this process. The rest is in the database: it does not grow with what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How many servers are being sent to, a task for each; at most [`Settings::parallel`].
    pub sending: usize,
    /// How many servers are known not to be tried for a while; 10,000 at most.
    pub paused: usize,
}

/// What this process knows of servers that are not tried for a while.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    /// Those servers.
    pub(crate) servers: HashSet<OwnedServerName>,
    /// Those of them that are known to be there again.
    pub(crate) contacted: Vec<OwnedServerName>,
}

impl Settings {
    /// The usual settings of a server of that name.
    pub fn new(server_name: &ServerName, settings: &config::Federation) -> Self {
        Self {
            server_name: server_name.to_owned(),
            first_pause: Duration::from_secs(1),
            max_pause: settings.max_retry_interval,
            parallel: settings.parallel_transactions as usize,
            lease: Duration::from_secs(15),
            max_waiting: 1_000,
            send_device_names: settings.send_device_names,
        }
    }
}

impl Delivery {
    /// Nothing is sent until [`follow`](Self::follow) and [`send`](Self::send) run.
    pub fn new(settings: Settings, database: Database, federation: Federation) -> Self {
        Self(Arc::new(Inner {
            settings,
            database,
            federation,
            wake: Notify::new(),
            pauses: Mutex::default(),
            sending: AtomicUsize::new(0),
        }))
    }

    /// What sending takes in this process now.
    pub fn load(&self) -> Load {
        Load {
            sending: self.0.sending.load(Ordering::Relaxed),
            paused: self.0.pauses.lock().servers.len(),
        }
    }

    /// Notes that a server is there: it has sent a request. Ends the pause after a failure.
    pub fn contacted(&self, server_name: &ServerName) {
        let mut pauses = self.0.pauses.lock();
        if let Some(server_name) = pauses.servers.take(server_name) {
            pauses.contacted.push(server_name);
            drop(pauses);
            self.0.wake.notify_one();
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}
