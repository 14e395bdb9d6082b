//! Devices and keys of this server's users, for other servers.
//!
//! Spec: server-server, "Device Management", "End-to-End Encryption".

use std::collections::BTreeMap;

use federation::UserDevices;
use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use storage::published_device_lists;

use crate::{ClaimedKeys, Claims, Error, Keys, QueriedKeys, query::raw};

impl Keys {
    /// The devices and cross-signing keys of a user of this server. There may be later changes in the
    /// list than the update that it is said to hold; those will be sent. Names are left out if they are
    /// kept from other servers.
    #[tracing::instrument(name = "e2ee.device_list", skip_all, fields(user.id = %user_id), err(level = "debug"))]
    pub async fn device_list(&self, user_id: &UserId) -> Result<UserDevices, Error> {
        if !self.is_local(user_id) {
            return Err(Error::UnknownUser);
        }
        // One snapshot: what is in the list is at least as new as the update that it is said to hold.
        let mut snapshot = self.database.snapshot().await?;
        let stream_id = published_device_lists::stream_id(&mut snapshot, user_id).await?;
        let mut found = Self::load_from(&mut snapshot, &[user_id.to_owned()]).await?;
        snapshot.commit().await?;
        let user = found.remove(user_id).ok_or(Error::UnknownUser)?;
        let devices = user.devices.into_iter().map(|device| {
            let name = device
                .display_name
                .filter(|_| self.settings.send_device_names);
            Ok((device.device_id, raw(&device.keys)?, name.map(String::from)))
        });
        Ok(UserDevices {
            stream_id: u64::try_from(stream_id).unwrap_or_default(),
            devices: devices.collect::<Result<_, Error>>()?,
            master_key: user.master.map(|key| raw(&key)).transpose()?,
            self_signing_key: user.self_signing.map(|key| raw(&key)).transpose()?,
        })
    }

    /// The keys of users of this server, as other servers see them; users of others are left out.
    #[tracing::instrument(name = "e2ee.served_keys", skip_all, err(level = "debug"))]
    pub async fn served_keys(
        &self,
        mut wanted: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
    ) -> Result<QueriedKeys, Error> {
        wanted.retain(|user_id, _| self.is_local(user_id));
        let names = self.settings.send_device_names;
        let mut keys = QueriedKeys::default();
        for (user_id, user) in self.published(wanted.keys()).await? {
            keys.add(user_id, &user, &wanted, names)?;
        }
        Ok(keys)
    }

    /// Gives another server one-time keys of this server's users; those of others are left out.
    #[tracing::instrument(name = "e2ee.give_keys", skip_all, err(level = "debug"))]
    pub async fn give_keys(&self, mut wanted: Claims) -> Result<ClaimedKeys, Error> {
        wanted.retain(|user_id, _| self.is_local(user_id));
        self.claim_local(wanted).await
    }
}
