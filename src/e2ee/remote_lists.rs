//! The cached device lists of users of other servers: kept up to date by what their servers tell, read
//! anew where something was missed, and given up when no room is shared any more.
//!
//! Spec: server-server, "Device Management".

use ruma::{
    OwnedDeviceId, OwnedUserId, UserId,
    encryption::{CrossSigningKey, DeviceKeys, KeyUsage},
    serde::Raw,
};
use storage::{
    Connection, Tx, UserChange, UserChanges,
    cross_signing::{self, CrossSigningKey as StoredKey},
    partial_states,
    remote_device_lists::{self, CachedList, RemoteDevice, SharedRooms},
};

use crate::{
    Error, Keys,
    ask::{RemoteKeys, checked_name, parse},
    cross_signing::{StoredKeys, UploadedKey},
    identifiers::check_identifier,
};

mod announcements;
mod follow;
mod in_progress;
mod refresh;

pub(crate) use announcements::Announcements;
pub(crate) use in_progress::InProgress;

/// The most devices of a user that are cached.
const MAX_DEVICES: usize = 2000;

/// A change of one device of a user of another server.
#[derive(Clone, Debug)]
pub struct DeviceListUpdate {
    /// Whose device.
    pub user_id: OwnedUserId,
    /// Which one.
    pub device_id: OwnedDeviceId,
    /// Its name.
    pub display_name: Option<String>,
    /// The number of the update.
    pub stream_id: u64,
    /// The updates that it follows.
    pub prev_ids: Vec<u64>,
    /// Whether the device is gone.
    pub is_deleted: bool,
    /// Its identity keys.
    pub keys: Option<Raw<DeviceKeys>>,
}

/// A change of the cross-signing keys of a user of another server.
#[derive(Clone, Debug)]
pub struct SigningKeyUpdate {
    /// Whose keys.
    pub user_id: OwnedUserId,
    /// The master key.
    pub master_key: Option<Raw<CrossSigningKey>>,
    /// The self-signing key.
    pub self_signing_key: Option<Raw<CrossSigningKey>>,
}

/// What the keys of a user are to this server.
enum Interest {
    /// The user shares no room with one of this server.
    None,
    /// Nobody has asked for the keys.
    Uncached(SharedRooms),
    /// The list is cached, and locked.
    Cached(CachedList),
}

/// What a user's server has told of cross-signing keys.
#[derive(Default)]
struct SigningKeys {
    master: Option<UploadedKey>,
    self_signing: Option<UploadedKey>,
}

impl Keys {
    /// Takes in a change of a device, told by the server of its user. A list that does not follow from
    /// what is cached is read anew. Users who share no room with one of this server are ignored.
    #[tracing::instrument(name = "e2ee.receive_device_list_update", skip_all, fields(user.id = %update.user_id), err(level = "debug"))]
    pub async fn receive_device_list_update(&self, update: DeviceListUpdate) -> Result<(), Error> {
        check_identifier("user id", update.user_id.as_str())?;
        check_identifier("device id", update.device_id.as_str())?;
        let user_id = update.user_id.clone();
        let mut tx = self.database.begin().await?;
        let is_current = match self.interest(&mut tx, &user_id).await? {
            Interest::None => return self.note_pending(tx, &user_id).await,
            Interest::Uncached(rooms) if self.announcements.is_first(&user_id, rooms) => {
                return Ok(());
            }
            Interest::Uncached(_) => true,
            Interest::Cached(list) => update.apply(&mut tx, list).await?,
        };
        self.finish_update(tx, user_id, is_current).await
    }

    /// Takes in a change of cross-signing keys, told by the server of their user.
    #[tracing::instrument(name = "e2ee.receive_signing_key_update", skip_all, fields(user.id = %update.user_id), err(level = "debug"))]
    pub async fn receive_signing_key_update(&self, update: SigningKeyUpdate) -> Result<(), Error> {
        check_identifier("user id", update.user_id.as_str())?;
        let user_id = update.user_id;
        let (master, self_signing) = (update.master_key, update.self_signing_key);
        let keys = SigningKeys::parse(&user_id, master.as_ref(), self_signing.as_ref());
        let mut tx = self.database.begin().await?;
        let is_current = match self.interest(&mut tx, &user_id).await? {
            Interest::None => return self.note_pending(tx, &user_id).await,
            Interest::Uncached(_) => true,
            Interest::Cached(list) => !list.is_stale && keys.apply(&mut tx, &user_id).await?,
        };
        self.finish_update(tx, user_id, is_current).await
    }

    async fn interest(&self, db: &mut Connection, user_id: &UserId) -> Result<Interest, Error> {
        if let Some(list) = remote_device_lists::find_for_update(&mut *db, user_id).await? {
            return Ok(Interest::Cached(list));
        }
        let own_name = &self.settings.server_name;
        let shared = remote_device_lists::shared_rooms(db, user_id, own_name).await?;
        Ok(shared.map_or(Interest::None, Interest::Uncached))
    }

    /// Notes a change for the time when it is known whether the user shares a room with one of this
    /// server, if that is not known now (MSC3902).
    async fn note_pending(&self, mut tx: Tx, user_id: &UserId) -> Result<(), Error> {
        if partial_states::is_stated_server(&mut tx, user_id.server_name()).await? {
            remote_device_lists::insert_pending(&mut tx, user_id).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Commits an update: clients that share a room with the user are to ask for the keys again. A list
    /// that is not up to date is read anew.
    async fn finish_update(
        &self,
        mut tx: Tx,
        user_id: OwnedUserId,
        is_current: bool,
    ) -> Result<(), Error> {
        if !is_current {
            remote_device_lists::mark_stale(&mut tx, &user_id).await?;
        }
        let change = UserChange::DeviceList { user_id };
        tx.commit_with(UserChanges::from_iter([change])).await?;
        if !is_current {
            self.stale_lists.notify_one();
        }
        Ok(())
    }
}

impl DeviceListUpdate {
    /// Applies the update to the list that it follows; `false` if the list is to be read anew.
    async fn apply(self, db: &mut Connection, list: CachedList) -> Result<bool, Error> {
        let Ok(stream_id) = i64::try_from(self.stream_id) else {
            return Ok(false);
        };
        if list.is_stale {
            return Ok(false);
        }
        if stream_id == list.stream_id {
            // Known: the list was read after the change, or this is told once more.
            return Ok(true);
        }
        let known = u64::try_from(list.stream_id).unwrap_or_default();
        if stream_id < list.stream_id || self.prev_ids.iter().any(|prev| *prev > known) {
            return Ok(false);
        }
        if self.is_deleted {
            let user_id = &self.user_id;
            remote_device_lists::apply_deletion(db, user_id, stream_id, self.device_id).await?;
            return Ok(true);
        }
        let keys = match &self.keys {
            Some(keys) => match RemoteKeys::parse(&self.user_id, &self.device_id, keys) {
                Some(keys) => Some(keys.keys),
                None => return Ok(false),
            },
            None => None,
        };
        let device = RemoteDevice {
            device_id: self.device_id,
            keys,
            display_name: self.display_name.and_then(checked_name),
        };
        remote_device_lists::apply(&mut *db, &self.user_id, stream_id, &device).await?;
        // One that has grown too long is read anew, and cut off.
        let count = remote_device_lists::count_devices(db, &self.user_id).await?;
        Ok(usize::try_from(count).is_ok_and(|count| count <= MAX_DEVICES))
    }
}

impl SigningKeys {
    /// What is well-formed of it.
    fn parse(
        user_id: &UserId,
        master: Option<&Raw<CrossSigningKey>>,
        self_signing: Option<&Raw<CrossSigningKey>>,
    ) -> Self {
        Self {
            master: master.and_then(|key| parse(user_id, KeyUsage::Master, key)),
            self_signing: self_signing.and_then(|key| parse(user_id, KeyUsage::SelfSigning, key)),
        }
    }

    /// Puts the keys in the place of those that are cached; `false`, without effect, if they do not
    /// belong together.
    async fn apply(self, db: &mut Connection, user_id: &UserId) -> Result<bool, Error> {
        let stored = StoredKeys::of(&mut *db, user_id).await?;
        let known = stored.find(&KeyUsage::Master).map(|key| &*key.public_key);
        let new = self.master.as_ref().map(|key| &*key.public_key);
        let Some(master) = new.or(known) else {
            return Ok(false);
        };
        let is_replaced = known.is_some_and(|known| known != master);
        if is_replaced && self.self_signing.is_none() {
            return Ok(false);
        }
        if let Some(key) = &self.self_signing
            && key.verify_by(user_id, master).is_err()
        {
            return Ok(false);
        }
        self.store(db, user_id).await?;
        Ok(true)
    }

    /// Stores the keys in the place of those of the same usages.
    async fn store(self, db: &mut Connection, user_id: &UserId) -> Result<(), Error> {
        for key in self.master.into_iter().chain(self.self_signing) {
            let row = StoredKey {
                user_id: user_id.to_owned(),
                usage: key.usage,
                public_key: key.public_key,
                key: key.key.to_json(),
            };
            cross_signing::replace(&mut *db, &row).await?;
        }
        Ok(())
    }
}
