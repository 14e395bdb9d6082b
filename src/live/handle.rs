//! The handle, and the task that applies the change feed to the cache.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use ruma::UserId;
use storage::{Database, Feed, feed::ChangeBatch};
use tokio::sync::{Notify, futures::Notified, watch};
use types::{RoomNid, StreamPosition, SyncToken};

use crate::{
    cache::{Budget, LiveCache},
    ephemeral::EphemeralCounter,
    event_cache::EventCache,
    notifications::Notifications,
    presence::store::PresenceStore,
    unread::{history::HistoryCache, store::UnstoredCounts},
};

/// The limits of the cache.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The maximum size in bytes. Half of it is for events of state that rooms do not hold
    /// themselves, a thirty-second for when rooms last changed.
    pub budget: usize,
    /// How many users of a room are shown as typing.
    pub max_typing_users: usize,
    /// Whether there is presence.
    pub presence: bool,
}

/// The cache of users and rooms; cheap to clone.
#[derive(Clone, Debug)]
pub struct Live(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) cache: RwLock<LiveCache>,
    pub(crate) events: EventCache,
    /// The presence of users. Its lock is taken after that of the cache, if both are.
    pub(crate) presence: Arc<Mutex<PresenceStore>>,
    pub(crate) has_presence: bool,
    /// The maximum size of all users and rooms in bytes.
    pub(crate) budget: usize,
    /// How many users of a room are shown as typing.
    pub(crate) max_typing_users: usize,
    pub(crate) histories: HistoryCache,
    pub(crate) unstored_counts: UnstoredCounts,
    pub(crate) rooms_loaded: Notify,
    pub(crate) typing_changed: Notify,
    /// There is something to do for the task behind presence.
    pub(crate) presence_changed: Notify,
    /// There are users whose rooms are not known.
    pub(crate) presence_unresolved: Notify,
    pub(crate) device_lists_unresolved: Notify,
    /// Notified when the whole state of a room became known.
    states_completed: Notify,
    position: watch::Sender<StreamPosition>,
}

impl Live {
    /// An empty cache at the position of the feed.
    ///
    /// Nothing happens before [`Live::run`] is given the feed.
    pub fn new(database: Database, feed: &Feed, settings: Settings) -> Self {
        let budget = Budget::divide(settings.budget);
        let position = feed.position();
        let ephemeral = EphemeralCounter::new(database.process());
        let presence = PresenceStore::new(budget.max_presence(), database.process().now_ms());
        let presence = Arc::new(Mutex::new(presence));
        let mut cache = LiveCache::new(position, ephemeral, &budget);
        cache.presence = Arc::clone(&presence);
        Self(Arc::new(Inner {
            database,
            events: EventCache::new(budget.events),
            cache: RwLock::new(cache),
            presence,
            has_presence: settings.presence,
            budget: budget.entries,
            max_typing_users: settings.max_typing_users,
            histories: HistoryCache::new(budget.entries / 16),
            unstored_counts: UnstoredCounts::default(),
            rooms_loaded: Notify::new(),
            typing_changed: Notify::new(),
            presence_changed: Notify::new(),
            presence_unresolved: Notify::new(),
            device_lists_unresolved: Notify::new(),
            states_completed: Notify::new(),
            position: watch::Sender::new(position),
        }))
    }

    /// Applies the feed until it ends. No change becomes visible while this does not run.
    ///
    /// When the database fails it returns the error and can be called again: nothing is lost.
    pub async fn run(&self, feed: &mut Feed) -> Result<(), storage::Error> {
        tokio::select! {
            result = self.follow(feed) => result,
            () = self.expire_typing() => Ok(()),
            () = self.run_presence(), if self.0.has_presence => Ok(()),
            () = Box::pin(self.resolve_presence_rooms()) => Ok(()),
            () = Box::pin(self.resolve_device_lists()) => Ok(()),
            () = Box::pin(self.keep_unread_counts_stored()) => Ok(()),
        }
    }

    async fn follow(&self, feed: &mut Feed) -> Result<(), storage::Error> {
        while let Some(batch) = feed.next().await? {
            self.apply_batch(&batch);
        }
        Ok(())
    }

    fn apply_batch(&self, batch: &Arc<ChangeBatch>) {
        let mut notifications = Notifications::default();
        let until = batch.until;
        {
            let mut cache = self.0.cache.write();
            cache.apply_batch(batch, &self.0.events, &mut notifications);
            notifications.publish(&self.0.database);
            cache.position = until;
            if !cache.loads.is_empty() {
                cache.log.push(Arc::clone(batch));
            }
            cache.evict(self.0.budget);
            metrics::gauge!("chancery_live_bytes").set(cache.bytes as f64);
            metrics::gauge!("chancery_live_rooms").set(cache.rooms.len() as f64);
            metrics::gauge!("chancery_live_users").set(cache.users.len() as f64);
        }
        let lag = self.0.database.committed().get() - until.get();
        metrics::gauge!("chancery_live_lag_positions").set(lag as f64);
        self.0.position.send_replace(until);
        if notifications.completed_states {
            self.0.states_completed.notify_waiters();
        }
        notifications.notify();
        self.take_in_early_presence();
        if self.0.cache.read().has_unresolved_device_lists() {
            self.0.device_lists_unresolved.notify_one();
        }
    }

    /// The position up to which all changes are applied.
    pub fn position(&self) -> StreamPosition {
        *self.0.position.borrow()
    }

    /// Completes when the whole state of some room becomes known.
    pub fn state_completed(&self) -> Notified<'_> {
        self.0.states_completed.notified()
    }

    /// The token after which a change notifies its client. Differs from the given token if its
    /// ephemeral position is of another process or from before a restart.
    pub fn changes_since(&self, since: SyncToken) -> SyncToken {
        let cache = self.0.cache.read();
        let ephemeral = cache.ephemeral.changes_since(since.ephemeral);
        SyncToken { ephemeral, ..since }
    }

    /// The token after which changes are returned in the next response: earlier than the given one
    /// by what the process that issued it may not have received yet.
    pub fn possibly_missed_since(&self, since: SyncToken) -> SyncToken {
        let cache = self.0.cache.read();
        let ephemeral = cache.ephemeral.possibly_missed_since(since.ephemeral);
        SyncToken { ephemeral, ..since }
    }

    /// Waits until all changes up to a position are applied.
    pub async fn wait_until_applied(&self, position: StreamPosition) {
        let mut position_receiver = self.0.position.subscribe();
        // The sender lives as long as this handle.
        let _alive = position_receiver
            .wait_for(|position_receiver| *position_receiver >= position)
            .await;
    }

    /// Records that a user has forgotten a room, if the user is cached.
    pub fn forget(&self, user_id: &UserId, room_nid: RoomNid) {
        let mut cache = self.0.cache.write();
        if let Some(user) = cache
            .users
            .get_mut(user_id)
            .and_then(|entry| entry.user.as_mut())
            && let Some(room) = Arc::make_mut(user).rooms.get_mut(&room_nid)
        {
            room.forgotten = true;
        }
    }
}
