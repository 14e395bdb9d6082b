//! The number of unread notifications of a user in all rooms, as it was sent last.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use live::{Live, Subscription, UnreadCounts, View, ViewQuery};
use moka::sync::Cache;
use ruma::{OwnedUserId, UserId, events::room::member::MembershipState};
use storage::Error;
use types::RoomNid;

/// The most users whose badges are remembered: of others, all rooms are counted.
const MAX_USERS: u64 = 20_000;

/// The unread notifications of a user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Badge {
    /// Rooms without any are left out.
    rooms: HashMap<RoomNid, u64>,
}

impl Badge {
    /// Those of all rooms together.
    pub(crate) fn total(&self) -> u64 {
        self.rooms.values().sum()
    }

    /// Those of a room.
    pub(crate) fn of_room(&self, room_nid: RoomNid) -> u64 {
        self.rooms.get(&room_nid).copied().unwrap_or_default()
    }

    /// Takes over the counts of rooms.
    fn update(&mut self, counts: &HashMap<RoomNid, Arc<UnreadCounts>>) {
        for (room_nid, counts) in counts {
            match counts.total().notifications {
                0 => self.rooms.remove(room_nid),
                unread => self.rooms.insert(*room_nid, unread),
            };
        }
    }
}

/// The badges that were sent last.
#[derive(Debug)]
pub(crate) struct Badges(Cache<OwnedUserId, Arc<Badge>>);

impl Default for Badges {
    fn default() -> Self {
        Self(Cache::new(MAX_USERS))
    }
}

impl Badges {
    pub(crate) fn get(&self, user_id: &UserId) -> Option<Arc<Badge>> {
        self.0.get(user_id)
    }

    pub(crate) fn insert(&self, user_id: &UserId, badge: Arc<Badge>) {
        self.0.insert(user_id.to_owned(), badge);
    }
}

/// The badge of a user now: the last one, counted anew in the rooms of a view in which something
/// happened; without a last one all rooms are counted.
pub(crate) async fn count(
    live: &Live,
    subscription: &Subscription,
    view: &View,
    last: Option<&Badge>,
) -> Result<Badge, Error> {
    let Some(last) = last else {
        let query = ViewQuery {
            since: None,
            of: &|room| room.membership == MembershipState::Join,
        };
        let view = live.view(subscription, &query).await?;
        let mut badge = Badge::default();
        badge.update(&subscription.count_unread(&view).await?);
        return Ok(badge);
    };
    let mut badge = last.clone();
    badge.update(&subscription.count_unread(view).await?);
    let joined = view.user.rooms();
    let joined = joined.filter(|room| room.membership == MembershipState::Join);
    let joined: HashSet<RoomNid> = joined.map(|room| room.room_nid).collect();
    badge.rooms.retain(|room_nid, _| joined.contains(room_nid));
    Ok(badge)
}
