//! Reads lists anew that are out of date.

use std::{convert::Infallible, time::Duration};

use federation::UserDevices;
use futures::{StreamExt, stream};
use ruma::UserId;
use storage::remote_device_lists::{self, RemoteDevice, StaleList};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{MAX_DEVICES, SigningKeys};
use crate::{
    Error, Keys,
    ask::{RemoteKeys, checked_name},
    identifiers::is_valid_identifier,
};

/// How many lists are read at the same time.
const PARALLEL: usize = 16;
/// How many lists are claimed at once, and for how long: until then no other process reads them.
const CLAIMED: i64 = 64;
const CLAIM_TIME: Duration = Duration::from_mins(5);
/// How often it is looked for lists that other processes have left.
const POLL: Duration = Duration::from_mins(1);
/// The pause after a first failure, twice as long after each further one, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const MAX_PAUSE: Duration = Duration::from_hours(1);

impl Keys {
    /// Reads lists of users of other servers that are out of date until it is told to stop; in any
    /// number of processes.
    pub async fn refresh_device_lists(
        &self,
        stopping: CancellationToken,
    ) -> Result<(), Infallible> {
        let refresh = async {
            loop {
                let stale = self.stale_lists.notified();
                let wait = match self.refresh_stale_lists().await {
                    Ok(next) => next.map_or(POLL, |next| next.min(POLL)),
                    Err(error) => {
                        tracing::warn!(%error, "Device lists of other servers could not be kept up to date");
                        FIRST_PAUSE
                    }
                };
                tokio::select! {
                    () = stale => {}
                    () = sleep(wait) => {}
                }
            }
        };
        stopping.run_until_cancelled(refresh).await;
        Ok(())
    }

    /// Reads all lists anew for which it is time; returns how long it is until the next one that could
    /// not be read.
    pub async fn refresh_stale_lists(&self) -> Result<Option<Duration>, Error> {
        loop {
            let claim = async {
                let mut db = self.database.acquire().await?;
                remote_device_lists::claim_stale(&mut db, CLAIMED, CLAIM_TIME).await
            };
            let claimed = claim.await?;
            if claimed.is_empty() {
                let mut db = self.database.acquire().await?;
                return Ok(remote_device_lists::next_retry(&mut db).await?);
            }
            let refreshing = claimed.into_iter().map(|list| self.refresh(list));
            let mut refreshing = stream::iter(refreshing).buffer_unordered(PARALLEL);
            while let Some(refreshed) = refreshing.next().await {
                refreshed?;
            }
        }
    }

    async fn refresh(&self, list: StaleList) -> Result<(), Error> {
        let found = match self.federation.user_devices(&list.user_id).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(user.id = %list.user_id, %error, "A device list could not be read");
                let mut db = self.database.acquire().await?;
                return Ok(list.failed(&mut db, pause(list.failures)).await?);
            }
        };
        let stream_id = i64::try_from(found.stream_id).unwrap_or(i64::MAX);
        let devices = devices(&list.user_id, &found);
        let keys = SigningKeys::parse(
            &list.user_id,
            found.master_key.as_ref(),
            found.self_signing_key.as_ref(),
        );
        let mut tx = self.database.begin().await?;
        // Clients need not be told: what has changed since they asked, the server tells for itself.
        if list.replace(&mut tx, stream_id, &devices).await? {
            keys.store(&mut tx, &list.user_id).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// What is well-formed of a list.
fn devices(user_id: &UserId, found: &UserDevices) -> Vec<RemoteDevice> {
    let devices = found.devices.iter().take(MAX_DEVICES);
    let mut devices: Vec<RemoteDevice> = devices
        .filter_map(|(device_id, keys, display_name)| {
            let parsed = RemoteKeys::parse(user_id, device_id, keys)?;
            is_valid_identifier(device_id.as_str()).then(|| RemoteDevice {
                device_id: device_id.clone(),
                keys: Some(parsed.keys),
                display_name: display_name
                    .clone()
                    .and_then(checked_name)
                    .or(parsed.display_name),
            })
        })
        .collect();
    // One statement cannot write a row twice.
    devices.sort_by(|one, other| one.device_id.cmp(&other.device_id));
    devices.dedup_by(|one, other| one.device_id == other.device_id);
    devices
}

fn pause(failures: i32) -> Duration {
    let doublings = u32::try_from(failures).unwrap_or_default().min(20);
    FIRST_PAUSE
        .saturating_mul(2_u32.pow(doublings))
        .min(MAX_PAUSE)
}
