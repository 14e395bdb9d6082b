//! Reads lists anew that are out of date.

use std::{convert::Infallible, time::Duration};

use federation::UserDevices;
use futures::{StreamExt, stream};
use ruma::{OwnedUserId, UserId};
use storage::remote_device_lists::{self, RemoteDevice, StaleList};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{MAX_DEVICES, SigningKeys, in_progress::Reading};
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
/// How many lists a request for keys reads itself. Of more users the keys are asked for together, which
/// takes one request to each server, and the lists are read behind.
const READ_AT_ONCE: usize = PARALLEL;
/// How long no other process reads a list beyond the time of the request that reads it.
const CLAIM_RESERVE: Duration = Duration::from_secs(10);
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
            self.refresh_all(claimed).await?;
        }
    }

    /// Begins to cache the lists of those of the users who share a room with one of this server, and
    /// reads them, and those that are out of date, for no longer than `limit`. Lists that are being read
    /// are waited for.
    pub(crate) async fn read_lists(
        &self,
        user_ids: &[OwnedUserId],
        limit: Duration,
    ) -> Result<(), Error> {
        let is_read_here = user_ids.len() <= READ_AT_ONCE;
        let claim_time = if is_read_here {
            limit + CLAIM_RESERVE
        } else {
            Duration::ZERO
        };
        // Before they are read: clients are told of what changes from now on.
        let claim = async {
            let mut db = self.database.acquire().await?;
            let own_name = &self.settings.server_name;
            remote_device_lists::track(&mut db, user_ids, own_name, claim_time).await
        };
        let claimed = claim.await?;
        if !is_read_here {
            if !claimed.is_empty() {
                self.stale_lists.notify_one();
            }
            return Ok(());
        }
        let reading = async {
            self.refresh_all(claimed).await?;
            self.lists_in_progress.ended(user_ids).await;
            Ok(())
        };
        // What takes longer is read once more, behind, when the claim has ended.
        timeout(limit, reading).await.unwrap_or(Ok(()))
    }

    async fn refresh_all(&self, claimed: Vec<StaleList>) -> Result<(), Error> {
        let claimed = claimed.into_iter().map(|list| {
            let reading = self.lists_in_progress.begin(&list.user_id);
            (list, reading)
        });
        let claimed: Vec<(StaleList, Reading)> = claimed.collect();
        let refreshing = claimed.into_iter().map(|(list, reading)| async {
            let _reading = reading;
            self.refresh(list).await
        });
        let mut refreshing = stream::iter(refreshing).buffer_unordered(PARALLEL);
        while let Some(refreshed) = refreshing.next().await {
            refreshed?;
        }
        Ok(())
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
