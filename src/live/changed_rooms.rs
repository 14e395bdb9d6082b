//! Which rooms of a user changed, without loading them.

use std::{collections::HashSet, sync::Arc};

use storage::{Error, memberships::Membership, rooms};
use types::{EphemeralPosition, RoomNid, StreamPosition, SyncToken};

use crate::{
    Live, Subscription,
    user::User,
    view::{KnownChanges, ViewQuery},
};

/// The rooms of a user that changed after a token, as of one position.
#[derive(Debug)]
pub struct ChangedRooms {
    /// The position: every change up to here is considered, and none after.
    pub position: StreamPosition,
    /// The position of the ephemeral counter.
    pub ephemeral: EphemeralPosition,
    /// The user.
    pub user: Arc<User>,
    /// The rooms in which an event, a receipt or the own membership is new.
    pub rooms: HashSet<RoomNid>,
    /// The rooms whose typing users changed, as far as that is known.
    pub typing: HashSet<RoomNid>,
    /// The typing users of other rooms may have changed, too.
    pub may_have_missed_typing: bool,
}

/// The outcome of one attempt.
enum Lookup {
    Found(ChangedRooms),
    /// The database must be asked whether these rooms changed.
    QueryChanges(Vec<RoomNid>),
    /// The user is newer than the last applied position.
    AwaitPosition(StreamPosition),
    /// The user was evicted.
    LoadUser,
}

impl Live {
    /// The rooms of a user that changed after a token; none are new without one.
    ///
    /// No query, unless the token is older than what is remembered; then one for all rooms.
    pub async fn changed_rooms(
        &self,
        subscription: &Subscription,
        since: Option<SyncToken>,
    ) -> Result<ChangedRooms, Error> {
        let mut known = KnownChanges::default();
        loop {
            match self.try_changed_rooms(subscription, since, &known) {
                Lookup::Found(changed) => return Ok(changed),
                Lookup::QueryChanges(room_nids) => {
                    let since = since.unwrap_or_default().stream;
                    let mut db = self.0.database.acquire().await?;
                    let changed = rooms::changed_since(&mut db, &room_nids, since).await?;
                    known.insert(changed, room_nids);
                }
                Lookup::AwaitPosition(position) => self.wait_until_applied(position).await,
                Lookup::LoadUser => self.load_user(subscription.user_id()).await?,
            }
        }
    }

    fn try_changed_rooms(
        &self,
        subscription: &Subscription,
        since: Option<SyncToken>,
        known: &KnownChanges,
    ) -> Lookup {
        let cache = self.0.cache.read();
        let entry = cache.users.get(subscription.user_id());
        let Some((user, last_changed)) =
            entry.and_then(|entry| Some((entry.user.clone()?, &entry.last_changed)))
        else {
            return Lookup::LoadUser;
        };
        if user.loaded_at > cache.position {
            return Lookup::AwaitPosition(user.loaded_at);
        }
        let (mut rooms, mut typing, mut unknown) = (HashSet::new(), HashSet::new(), Vec::new());
        if let Some(since) = since {
            let query = ViewQuery {
                since: Some(since),
                of: &|_: &Membership| true,
            };
            for room in cache.candidates(&user, last_changed, &query) {
                let room_nid = room.room_nid;
                let list = cache.typing.get(&room_nid);
                if list.is_some_and(|list| list.position > since.ephemeral) {
                    typing.insert(room_nid);
                }
                match cache.is_wanted(room, &query, known) {
                    Some(true) => {
                        rooms.insert(room_nid);
                    }
                    Some(false) => {}
                    None => unknown.push(room_nid),
                }
            }
        }
        if !unknown.is_empty() {
            return Lookup::QueryChanges(unknown);
        }
        Lookup::Found(ChangedRooms {
            position: cache.position,
            ephemeral: cache.ephemeral.last(),
            rooms,
            typing,
            may_have_missed_typing: since
                .is_some_and(|since| since.ephemeral < cache.typing_started),
            user,
        })
    }
}
