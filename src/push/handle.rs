//! The handle to pushers and to what sends to their gateways.

use std::{fmt, sync::Arc, time::Duration};

use live::Live;
use net::PostClient;
use parking_lot::Mutex;
use storage::Database;
use types::Clock;

use crate::{badge::Badges, gateway::Unreachable, users::PusherUsers};

/// How push gateways are told of notifications.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many pushers a user may have.
    pub limits: config::Limits,
    /// How long a gateway may take to answer.
    pub timeout: Duration,
    /// The pause after a first failure; twice as long after each further one.
    pub first_pause: Duration,
    /// The longest pause after a failure.
    pub max_pause: Duration,
    /// How many requests are sent at the same time.
    pub parallel: usize,
    /// How long a process is taken to work without a sign of life; a batch of notifications is sent
    /// within a third of it.
    pub lease: Duration,
}

impl Settings {
    /// The usual settings.
    pub fn new(push: &config::Push, limits: config::Limits) -> Self {
        Self {
            limits,
            timeout: push.timeout,
            first_pause: Duration::from_secs(1),
            max_pause: push.max_retry_interval,
            parallel: push.parallel_requests as usize,
            lease: Duration::from_mins(1),
        }
    }

    /// The pause after so many failures in a row.
    pub(crate) fn pause_after(&self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.first_pause.saturating_mul(doubled).min(self.max_pause)
    }
}

/// Pushers; cheap to clone.
#[derive(Clone)]
pub struct Push(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) database: Database,
    pub(crate) live: Live,
    pub(crate) client: PostClient,
    pub(crate) clock: Clock,
    pub(crate) users: Mutex<PusherUsers>,
    pub(crate) badges: Badges,
    pub(crate) unreachable: Unreachable,
}

impl Push {
    /// Nothing is sent until [`follow`](Self::follow) and [`follow_peers`](Self::follow_peers) run.
    pub fn new(
        settings: Settings,
        database: Database,
        live: Live,
        client: PostClient,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(Inner {
            settings,
            database,
            live,
            client,
            clock,
            users: Mutex::default(),
            badges: Badges::default(),
            unreachable: Unreachable::default(),
        }))
    }
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let settings = Settings::new(&config::Push::default(), config::Limits::default());
        let seconds = |failures| settings.pause_after(failures).as_secs();
        assert_eq!(
            [0, 1, 2, 5, 11, 1_000].map(seconds),
            [1, 1, 2, 16, 900, 900]
        );
    }
}
