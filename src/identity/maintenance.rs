//! Periodic maintenance.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{Identity, Result};

/// How often last-seen data is written.
const LAST_SEEN_INTERVAL: Duration = Duration::from_mins(1);

impl Identity {
    /// Writes last-seen data of requests to this process periodically, until `stopping` is cancelled.
    pub async fn run_maintenance(self, stopping: CancellationToken) -> Result<()> {
        let mut last_seen = interval(LAST_SEEN_INTERVAL);
        last_seen.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return self.write_last_seen().await,
                _ = last_seen.tick() => self.write_last_seen().await?,
            }
        }
    }

    /// Deletes expired UIA sessions, registration nonces, login tokens and `OpenID` tokens.
    pub async fn delete_expired(&self) -> Result<()> {
        let now = self.now();
        let mut db = self.0.database.acquire().await?;
        storage::uia::delete_expired(&mut db, now).await?;
        storage::registration::delete_expired_nonces(&mut db, now).await?;
        storage::sessions::delete_expired_login_tokens(&mut db, now).await?;
        storage::openid::delete_expired(&mut db, now).await?;
        Ok(())
    }
}
