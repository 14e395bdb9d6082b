//! What the searcher may see, in many rooms.

use std::collections::HashMap;

use live::{Aggregations, ChildFilter, UserVisibility};
use ruma::{OwnedUserId, UserId};
use storage::{Connection, StoredEvent};
use types::{EventNid, HistoryOrder, RoomNid};

use crate::{
    Error,
    history::{DecidingKeys, ignored_by},
};

/// What a user may see of the histories of rooms.
pub(super) struct Views<'a> {
    user_id: &'a UserId,
    ignored: Vec<OwnedUserId>,
    keys: Option<DecidingKeys>,
    rooms: HashMap<RoomNid, UserVisibility>,
}

impl<'a> Views<'a> {
    pub(super) async fn new(
        db: &mut Connection,
        user_id: &'a UserId,
        keys: Option<DecidingKeys>,
    ) -> Result<Self, Error> {
        Ok(Self {
            user_id,
            ignored: ignored_by(db, user_id).await?,
            keys,
            rooms: HashMap::new(),
        })
    }

    /// Looks up what is needed to tell whether the user sees the events: a number of queries that does
    /// not depend on theirs.
    pub(super) async fn look_up(
        &mut self,
        db: &mut Connection,
        events: &[StoredEvent],
    ) -> Result<(), Error> {
        let rooms = events.iter().map(|event| event.room_nid);
        let mut missing: Vec<RoomNid> = rooms
            .filter(|room_nid| !self.rooms.contains_key(room_nid))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            let loaded = UserVisibility::load_for_rooms(db, &missing, self.user_id);
            self.rooms.extend(loaded.await?);
        }
        let Some(keys) = self.keys.filter(|_| !events.is_empty()) else {
            return Ok(());
        };
        let room_of: HashMap<EventNid, RoomNid> = events
            .iter()
            .map(|event| (event.nid, event.room_nid))
            .collect();
        for (event, contexts) in keys.contexts_of(db, events).await? {
            let room_nid = room_of.get(&event);
            if let Some(visibility) = room_nid.and_then(|nid| self.rooms.get_mut(nid)) {
                visibility.set_contexts(event, contexts);
            }
        }
        Ok(())
    }

    /// Whether an event is shown that was looked up: as in the room's history, which a former member
    /// may read who has not forgotten the room. What ignored users have sent is left out.
    pub(super) fn may_see(&self, event: &StoredEvent) -> bool {
        let visibility = self.rooms.get(&event.room_nid);
        visibility.is_some_and(|visibility| visibility.was_member() && visibility.may_see(event))
            && !self.ignores(event.pdu.sender())
    }

    /// What the user may see of one room.
    pub(super) fn of_room(&self, room_nid: RoomNid) -> Option<&UserVisibility> {
        self.rooms.get(&room_nid)
    }

    /// The aggregations of events that were looked up.
    pub(super) async fn aggregations(
        &mut self,
        db: &mut Connection,
        events: &[&StoredEvent],
    ) -> Result<Aggregations, Error> {
        let filter = ChildFilter {
            user_id: self.user_id,
            ignores: &|user_id: &UserId| self.ignores(user_id),
            sees: &|room_nid: RoomNid, event: EventNid, order: HistoryOrder| {
                let visibility = self.rooms.get(&room_nid);
                visibility.is_some_and(|visibility| visibility.is_visible_at(event, Some(order)))
            },
        };
        let mut found = Aggregations::load(db, events.iter().copied(), filter).await?;
        self.look_up(db, &found.children()).await?;
        found.retain(|child| self.may_see(child));
        Ok(found)
    }

    fn ignores(&self, user_id: &UserId) -> bool {
        self.ignored.iter().any(|ignored| ignored == user_id)
    }
}
