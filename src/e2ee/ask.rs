//! Asking other servers for keys of their users.
//!
//! Spec: server-server, "End-to-End Encryption".

use std::{collections::BTreeMap, time::Duration};

use federation::UserKeys;
use futures::{StreamExt, stream};
use ruma::{
    OwnedDeviceId, OwnedServerName, OwnedUserId, UserId,
    encryption::{CrossSigningKey, DeviceKeys, KeyUsage},
    serde::Raw,
};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::{
    ClaimedKeys, Claims, Error, Keys, QueriedKeys,
    cross_signing::UploadedKey,
    identifiers::is_valid_identifier,
    query::{raw, with_display_name},
    signed::{Signed, check_size},
};

/// How many servers are asked at the same time for one request.
const PARALLEL: usize = 32;

impl Keys {
    /// Asks other servers, in parallel, for keys of their users that are not cached. Those of users who
    /// share a room with one of this server are cached from now on.
    pub(crate) async fn ask_for_keys(
        &self,
        mut wanted: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
        timeout: Duration,
        keys: &mut QueriedKeys,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        let user_ids: Vec<OwnedUserId> = wanted.keys().cloned().collect();
        self.read_lists(&user_ids, timeout).await?;
        for (user_id, user) in self.published(user_ids.iter()).await? {
            keys.add(user_id.clone(), &user, &wanted, true)?;
            wanted.remove(&user_id);
        }
        let asking = by_server(wanted).into_iter().map(|(server, wanted)| async {
            let asked = self.federation.query_keys(&server, wanted.clone());
            let answer = timeout_at(deadline, asked).await;
            (server, wanted, answer.ok().and_then(Result::ok))
        });
        let mut answers = stream::iter(asking).buffer_unordered(PARALLEL);
        while let Some((server, wanted, answer)) = answers.next().await {
            match answer {
                Some(found) => keys.add_remote(&wanted, &found)?,
                None => {
                    keys.failures.insert(server);
                }
            }
        }
        Ok(())
    }

    /// Takes one-time keys of users of other servers from those, in parallel.
    pub(crate) async fn ask_for_one_time_keys(
        &self,
        wanted: Claims,
        timeout: Duration,
        claimed: &mut ClaimedKeys,
    ) {
        let asking = by_server(wanted).into_iter().map(|(server, wanted)| async {
            let asked = self.federation.claim_keys(&server, wanted.clone());
            let answer = tokio::time::timeout(timeout, asked).await;
            (server, wanted, answer.ok().and_then(Result::ok))
        });
        let mut answers = stream::iter(asking).buffer_unordered(PARALLEL);
        while let Some((server, wanted, answer)) = answers.next().await {
            let Some(answer) = answer else {
                claimed.failures.insert(server);
                continue;
            };
            for (user_id, devices) in answer {
                for (device_id, keys) in devices {
                    let algorithm = wanted.get(&user_id).and_then(|of| of.get(&device_id));
                    let Some(algorithm) = algorithm else {
                        continue;
                    };
                    // One key was asked for.
                    let key = keys.into_iter().find(|(key_id, key)| {
                        key_id.algorithm() == *algorithm && check_size(key.json().get()).is_ok()
                    });
                    if let Some((key_id, key)) = key {
                        let devices = claimed.one_time_keys.entry(user_id.clone()).or_default();
                        devices.entry(device_id).or_default().insert(key_id, key);
                    }
                }
            }
        }
    }
}

/// What is said of users, by their servers.
pub(crate) fn by_server<T>(
    wanted: BTreeMap<OwnedUserId, T>,
) -> BTreeMap<OwnedServerName, BTreeMap<OwnedUserId, T>> {
    let mut servers: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (user_id, wanted) in wanted {
        let of_server = servers.entry(user_id.server_name().to_owned()).or_default();
        of_server.insert(user_id, wanted);
    }
    servers
}

impl QueriedKeys {
    /// Adds what a server returned of what it was asked for; what is malformed is left out.
    fn add_remote(
        &mut self,
        wanted: &BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
        found: &UserKeys,
    ) -> Result<(), Error> {
        for (user_id, chosen) in wanted {
            if let Some(devices) = found.device_keys.get(user_id) {
                let known = self.device_keys.entry(user_id.clone()).or_default();
                for (device_id, keys) in devices {
                    if !chosen.is_empty() && !chosen.contains(device_id) {
                        continue;
                    }
                    if let Some(device) = RemoteKeys::parse(user_id, device_id, keys) {
                        let keys = with_display_name(&device.keys, device.display_name.as_deref())?;
                        known.insert(device_id.clone(), raw(&keys)?);
                    }
                }
            }
            for (usage, from, to) in [
                (KeyUsage::Master, &found.master_keys, &mut self.master_keys),
                (
                    KeyUsage::SelfSigning,
                    &found.self_signing_keys,
                    &mut self.self_signing_keys,
                ),
            ] {
                if let Some(key) = from.get(user_id).and_then(|key| parse(user_id, usage, key)) {
                    to.insert(user_id.clone(), raw(&key.key.to_json())?);
                }
            }
        }
        Ok(())
    }
}

/// The identity keys of a device of another server's user.
pub(crate) struct RemoteKeys {
    /// The keys without `unsigned`, JSON.
    pub(crate) keys: String,
    /// The name that stood in `unsigned`.
    pub(crate) display_name: Option<String>,
}

impl RemoteKeys {
    /// The keys, if they are those of the device and well-formed.
    pub(crate) fn parse(
        user_id: &UserId,
        device_id: &OwnedDeviceId,
        keys: &Raw<DeviceKeys>,
    ) -> Option<Self> {
        #[derive(Deserialize)]
        struct Shape {
            user_id: OwnedUserId,
            device_id: OwnedDeviceId,
            #[serde(default)]
            unsigned: Unsigned,
        }
        #[derive(Default, Deserialize)]
        struct Unsigned {
            device_display_name: Option<String>,
        }
        let json = keys.json().get();
        check_size(json).ok()?;
        let shape: Shape = serde_json::from_str(json).ok()?;
        if shape.user_id != user_id || shape.device_id != *device_id {
            return None;
        }
        Some(Self {
            keys: Signed::parse(json).ok()?.to_json(),
            display_name: shape.unsigned.device_display_name.and_then(checked_name),
        })
    }
}

/// A name that can be stored.
pub(crate) fn checked_name(name: String) -> Option<String> {
    is_valid_identifier(&name).then_some(name)
}

/// A cross-signing key of a user of another server, if it is well-formed.
pub(crate) fn parse(
    user_id: &UserId,
    usage: KeyUsage,
    key: &Raw<CrossSigningKey>,
) -> Option<UploadedKey> {
    let parsed = UploadedKey::parse(user_id, usage, key.json().get());
    parsed
        .inspect_err(|error| tracing::debug!(user.id = %user_id, %error, "A cross-signing key of another server is left out"))
        .ok()
}
