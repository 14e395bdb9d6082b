//! The handle, and the follower that keeps memory up to date.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;
use ruma::UserId;
use storage::{Change, Database, Feed, feed::ChangeBatch, memberships};
use tokio::sync::{Notify, watch};
use types::{RoomNid, StreamPosition, SyncToken};

use crate::{
    apply::{Sharing, Wakes},
    ephemeral::Counter,
    memory::Memory,
};

/// The recent past; cheap to clone.
#[derive(Clone, Debug)]
pub struct Live(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) memory: RwLock<Memory>,
    /// Bytes that users and rooms may take.
    pub(crate) budget: usize,
    pub(crate) rooms_loaded: Notify,
    pub(crate) typing_changed: Notify,
    position: watch::Sender<StreamPosition>,
}

impl Live {
    /// An empty memory at the position where the database was opened; `budget` is in bytes.
    ///
    /// Nothing happens before [`Live::run`] is given the feed.
    pub fn new(database: Database, feed: &Feed, budget: usize) -> Self {
        let position = feed.position();
        let ephemeral = Counter::new(database.process());
        let inner = Arc::new(Inner {
            database,
            memory: RwLock::new(Memory::new(position, ephemeral)),
            budget,
            rooms_loaded: Notify::new(),
            typing_changed: Notify::new(),
            position: watch::Sender::new(position),
        });
        let weak = Arc::downgrade(&inner);
        inner.database.subscribe(move |heard| {
            if let Some(inner) = weak.upgrade() {
                Self(inner).hear(heard);
            }
        });
        Self(inner)
    }

    /// Follows the stream; ends with the feed. Must run for anybody to see anything new.
    ///
    /// When the database fails it returns the error and can be called again: nothing is lost.
    pub async fn run(&self, feed: &mut Feed) -> Result<(), storage::Error> {
        tokio::select! {
            result = self.follow(feed) => result,
            () = self.expire_typing() => Ok(()),
        }
    }

    async fn follow(&self, feed: &mut Feed) -> Result<(), storage::Error> {
        while let Some(stretch) = feed.next().await? {
            let sharing = self.sharing(&stretch).await;
            self.take_in(stretch, &sharing);
        }
        Ok(())
    }

    /// With whom those share rooms whose devices changed and who are not in memory.
    async fn sharing(&self, stretch: &ChangeBatch) -> Sharing {
        let mut sharing = HashMap::new();
        for (_, change) in &stretch.changes {
            let Change::DeviceList { user_id } = change else {
                continue;
            };
            let is_here = {
                let memory = self.0.memory.read();
                memory
                    .users
                    .get(user_id)
                    .is_some_and(|slot| slot.user.is_some())
            };
            if is_here || sharing.contains_key(user_id) {
                continue;
            }
            let others = async {
                let mut db = self.0.database.acquire().await?;
                memberships::sharing_a_room(&mut db, user_id).await
            };
            // Without an answer everybody is made to look.
            sharing.insert(user_id.clone(), others.await.ok());
        }
        sharing
    }

    fn take_in(&self, stretch: ChangeBatch, sharing: &Sharing) {
        let mut wakes = Wakes::default();
        let until = stretch.until;
        {
            let mut memory = self.0.memory.write();
            for (position, change) in &stretch.changes {
                memory.apply(*position, change, sharing, &mut wakes);
            }
            memory.position = until;
            if !memory.loads.is_empty() {
                memory.log.push(Arc::new(stretch));
            }
            memory.evict(self.0.budget);
            metrics::gauge!("chancery_live_bytes").set(memory.bytes as f64);
            metrics::gauge!("chancery_live_rooms").set(memory.rooms.len() as f64);
            metrics::gauge!("chancery_live_users").set(memory.users.len() as f64);
        }
        let lag = self.0.database.committed().get() - until.get();
        metrics::gauge!("chancery_live_lag_positions").set(lag as f64);
        self.0.position.send_replace(until);
        wakes.wake();
    }

    /// Everything up to here can be seen.
    pub fn position(&self) -> StreamPosition {
        *self.0.position.borrow()
    }

    /// A token as far as it says what wakes its client: its ephemeral half may be of another
    /// process, or of before a restart.
    pub fn news_since(&self, since: SyncToken) -> SyncToken {
        let memory = self.0.memory.read();
        let ephemeral = memory.ephemeral.news_since(since.ephemeral);
        SyncToken { ephemeral, ..since }
    }

    /// A token as far as it says what its client is told with the next news: what another process
    /// may not have known when it gave the token out, too.
    pub fn worth_telling_since(&self, since: SyncToken) -> SyncToken {
        let memory = self.0.memory.read();
        let ephemeral = memory.ephemeral.worth_telling_since(since.ephemeral);
        SyncToken { ephemeral, ..since }
    }

    /// Waits until everything up to a position can be seen.
    pub async fn caught_up(&self, position: StreamPosition) {
        let mut reached = self.0.position.subscribe();
        // The sender lives as long as this handle.
        let _alive = reached.wait_for(|reached| *reached >= position).await;
    }

    /// Takes into account that a user has forgotten a room.
    pub fn forget(&self, user_id: &UserId, room_nid: RoomNid) {
        let mut memory = self.0.memory.write();
        if let Some(user) = memory
            .users
            .get_mut(user_id)
            .and_then(|slot| slot.user.as_mut())
            && let Some(room) = Arc::make_mut(user).rooms.get_mut(&room_nid)
        {
            room.forgotten = true;
        }
    }
}
