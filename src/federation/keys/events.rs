//! The keys with which events are verified.

use std::collections::BTreeMap;

use event::{Pdu, RoomVersion, ServerKeys, VerifyKey, required_signatures};
use futures::{StreamExt as _, stream};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedServerName, ServerName, UInt};
use storage::server_keys::ServerKey;

use super::Keys;
use crate::{Federation, Result};

/// How many servers are asked for their keys at once.
const PARALLEL_FETCHES: usize = 16;

/// The keys of one server that are wanted, each with the time until which it must be valid.
type WantedKeys = BTreeMap<String, u64>;

impl Federation {
    /// The keys of all servers that must have signed the events. Servers that do not publish theirs
    /// are left out.
    pub async fn event_keys<'a>(
        &self,
        version: &RoomVersion,
        events: impl IntoIterator<Item = &'a Pdu>,
    ) -> Result<ServerKeys> {
        let mut wanted: BTreeMap<OwnedServerName, WantedKeys> = BTreeMap::new();
        for event in events {
            let Ok(servers) = required_signatures(event, version) else {
                continue;
            };
            let ts = u64::from(event.origin_server_ts().0);
            for (server, key_ids) in servers {
                let of_server = wanted.entry(server).or_default();
                for key_id in key_ids {
                    let until = of_server.entry(key_id).or_default();
                    *until = ts.max(*until);
                }
            }
        }
        let inner = self.inner();
        let fetches = wanted.into_iter().map(async |(server, wanted)| {
            let keys = if server == inner.server_name {
                Ok(inner.keys.own().verify_keys())
            } else {
                inner.keys.for_events(&server, &wanted, version).await
            };
            (server, keys)
        });
        let mut fetches = stream::iter(fetches).buffer_unordered(PARALLEL_FETCHES);
        let mut keys = ServerKeys::new();
        while let Some((server, of_server)) = fetches.next().await {
            keys.insert(server, of_server?);
        }
        Ok(keys)
    }
}

impl Keys {
    /// The keys of a server, which is asked if one of the wanted ones is not known.
    async fn for_events(
        &self,
        server: &ServerName,
        wanted: &WantedKeys,
        version: &RoomVersion,
    ) -> Result<BTreeMap<String, VerifyKey>> {
        let must_be_valid = version.rules().enforce_key_validity;
        let known = self.known(server).await?;
        let is_known = |(key_id, until): (&String, &u64)| {
            let key = known.iter().find(|key| key.key_id == *key_id);
            key.is_some_and(|key| !must_be_valid || key.valid_until_ts >= *until || key.is_old)
        };
        if !wanted.iter().all(is_known) {
            // Without the keys the events do not hold, whatever the reason is.
            let _failed = self.fetch_once(server).await;
        }
        let known = self.known(server).await?;
        Ok(verify_keys(known.iter()))
    }
}

fn verify_keys<'a>(keys: impl Iterator<Item = &'a ServerKey>) -> BTreeMap<String, VerifyKey> {
    keys.filter_map(|key| {
        let until = MilliSecondsSinceUnixEpoch(UInt::new_saturating(key.valid_until_ts));
        let verify_key = VerifyKey::expired(&key.public_key, until).ok()?;
        Some((key.key_id.clone(), verify_key))
    })
    .collect()
}
