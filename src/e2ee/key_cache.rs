//! The published keys of users in memory, kept up to date by the change feed: those of this server's
//! users, and those of others that are cached in the database.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use moka::sync::Cache;
use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use storage::{
    Change,
    feed::{ChangeBatch, Subscription, SubscriptionEvent},
};
use tokio::sync::watch;
use types::StreamPosition;

/// Counters of invalidations; users share them.
const STRIPES: usize = 256;
/// What an entry takes beside its texts, in bytes.
const ENTRY_BYTES: usize = 256;

/// The keys that a user has published.
#[derive(Debug, Default)]
pub(crate) struct UserKeys {
    /// The devices with identity keys.
    pub(crate) devices: Vec<CachedDevice>,
    /// The master key with the owner's signatures, JSON.
    pub(crate) master: Option<Box<str>>,
    /// The self-signing key, JSON.
    pub(crate) self_signing: Option<Box<str>>,
    /// The user-signing key, JSON.
    pub(crate) user_signing: Option<Box<str>>,
}

/// A device with identity keys.
#[derive(Debug)]
pub(crate) struct CachedDevice {
    pub(crate) device_id: OwnedDeviceId,
    /// The keys, JSON without `unsigned`.
    pub(crate) keys: Box<str>,
    pub(crate) display_name: Option<Box<str>>,
}

/// The signatures that a user has added to the master keys of others: by owner and public key, the
/// signatures by the keys that made them.
pub(crate) type SignaturesMade = HashMap<(OwnedUserId, String), BTreeMap<String, String>>;

/// The cache. Empty, and not to be used, while nothing follows the feed.
#[derive(Debug)]
pub(crate) struct KeyCache {
    users: Cache<OwnedUserId, Arc<UserKeys>>,
    made: Cache<OwnedUserId, Arc<SignaturesMade>>,
    /// How often entries were invalidated: what was read before the last time is not kept.
    invalidations: Vec<AtomicU64>,
    hasher: RandomState,
    /// The position up to which changes are applied; none while nothing follows the feed.
    applied: watch::Sender<Option<StreamPosition>>,
}

/// How often a user's entries have been invalidated: an entry that is being read is kept only if this has
/// not changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheVersion(u64);

impl KeyCache {
    /// A cache of about so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            users: Cache::builder()
                .max_capacity(bytes - bytes / 4)
                .weigher(|_, keys: &Arc<UserKeys>| size(keys.bytes()))
                .build(),
            made: Cache::builder()
                .max_capacity(bytes / 4)
                .weigher(|_, made: &Arc<SignaturesMade>| size(made.len() * 2 * ENTRY_BYTES))
                .build(),
            invalidations: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            applied: watch::Sender::new(None),
        }
    }

    /// Applies the changes of the feed until it ends.
    pub(crate) async fn follow(&self, mut changes: Subscription) {
        self.applied.send_replace(Some(changes.position()));
        while let Some(event) = changes.next().await {
            match event {
                SubscriptionEvent::Batch(batch) => self.apply(&batch),
                SubscriptionEvent::Resync => self.invalidate_all(),
            }
            self.applied.send_replace(Some(changes.position()));
        }
        self.applied.send_replace(None);
        self.invalidate_all();
    }

    fn apply(&self, batch: &ChangeBatch) {
        for (_, change) in &batch.changes {
            match change {
                Change::DeviceList { user_id } => self.invalidate(user_id),
                Change::UserSigned { signer, .. } => self.invalidate(signer),
                _ => {}
            }
        }
    }

    /// Whether entries are kept up to date.
    pub(crate) fn is_followed(&self) -> bool {
        self.applied.borrow().is_some()
    }

    /// Waits until all changes up to a position are applied; `false` when nothing follows the feed.
    pub(crate) async fn wait_until_applied(&self, position: StreamPosition) -> bool {
        let mut applied = self.applied.subscribe();
        let reached = applied
            .wait_for(|applied| applied.is_none_or(|applied| applied >= position))
            .await;
        // The sender lives as long as the cache.
        reached.is_ok_and(|applied| applied.is_some())
    }

    /// The keys of a user, if they are cached.
    pub(crate) fn user(&self, user_id: &UserId) -> Option<Arc<UserKeys>> {
        self.users.get(user_id)
    }

    /// The signatures that a user made, if they are cached.
    pub(crate) fn made(&self, user_id: &UserId) -> Option<Arc<SignaturesMade>> {
        self.made.get(user_id)
    }

    /// The version of a user's entries, to be taken before they are read from the database.
    pub(crate) fn version(&self, user_id: &UserId) -> CacheVersion {
        CacheVersion(self.stripe(user_id).load(Ordering::Acquire))
    }

    /// Keeps the keys of a user unless they may have changed since the version was taken.
    pub(crate) fn insert_user(
        &self,
        user_id: OwnedUserId,
        keys: Arc<UserKeys>,
        version: CacheVersion,
    ) {
        self.users.insert(user_id.clone(), keys);
        if self.version(&user_id).0 != version.0 {
            self.users.invalidate(&user_id);
        }
    }

    /// Keeps the signatures of a user unless they may have changed since the version was taken.
    pub(crate) fn insert_made(
        &self,
        user_id: OwnedUserId,
        made: Arc<SignaturesMade>,
        version: CacheVersion,
    ) {
        self.made.insert(user_id.clone(), made);
        if self.version(&user_id).0 != version.0 {
            self.made.invalidate(&user_id);
        }
    }

    fn invalidate(&self, user_id: &UserId) {
        self.stripe(user_id).fetch_add(1, Ordering::AcqRel);
        self.users.invalidate(user_id);
        self.made.invalidate(user_id);
    }

    fn invalidate_all(&self) {
        for invalidations in &self.invalidations {
            invalidations.fetch_add(1, Ordering::AcqRel);
        }
        self.users.invalidate_all();
        self.made.invalidate_all();
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the remainder of a division by the length"
    )]
    fn stripe(&self, user_id: &UserId) -> &AtomicU64 {
        let hash = self.hasher.hash_one(user_id.as_str());
        &self.invalidations[(hash % STRIPES as u64) as usize]
    }
}

impl UserKeys {
    fn bytes(&self) -> usize {
        let devices = self.devices.iter().map(|device| {
            let name = device.display_name.as_ref().map_or(0, |name| name.len());
            ENTRY_BYTES + device.device_id.as_str().len() + device.keys.len() + name
        });
        let others = [&self.master, &self.self_signing, &self.user_signing];
        let others = others.into_iter().flatten().map(|key| key.len());
        ENTRY_BYTES + devices.chain(others).sum::<usize>()
    }
}

fn size(bytes: usize) -> u32 {
    u32::try_from(ENTRY_BYTES + bytes).unwrap_or(u32::MAX)
}
