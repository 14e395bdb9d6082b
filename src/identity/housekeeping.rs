//! What is done now and then for all users.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{Identity, Result};

/// How often it is written down when devices called.
const SIGHTINGS: Duration = Duration::from_mins(1);
/// How often what has expired is forgotten.
const SWEEPS: Duration = Duration::from_hours(1);

impl Identity {
    /// Writes down when devices called and forgets what has expired, until it is told to stop.
    ///
    /// Nothing but the size of the tables and the age of what device lists show depends on it.
    pub async fn keep_house(self, stopping: CancellationToken) -> Result<()> {
        let mut sightings = interval(SIGHTINGS);
        let mut sweeps = interval(SWEEPS);
        sightings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return self.write_sightings().await,
                _ = sightings.tick() => self.write_sightings().await?,
                _ = sweeps.tick() => self.sweep().await?,
            }
        }
    }

    /// Forgets what has expired: authentications under way, nonces, login tokens.
    pub(crate) async fn sweep(&self) -> Result<()> {
        let now = self.now();
        let mut db = self.0.database.acquire().await?;
        storage::uia::delete_expired(&mut db, now).await?;
        storage::registration::delete_expired_nonces(&mut db, now).await?;
        storage::sessions::delete_expired_login_tokens(&mut db, now).await?;
        Ok(())
    }
}
