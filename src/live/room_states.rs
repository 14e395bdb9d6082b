//! The states of rooms for those who write to them, and events of state by number.

use std::{collections::HashMap, sync::Arc};

use event::{Pdu, State};
use ruma::RoomId;
use storage::{Connection, Error, room_states::RoomSelector, stream};
use types::{EventNid, RoomNid, StreamPosition};

use crate::{
    EventCache, Live, RoomState, apply::catch_up_states, load::LogRetention, pins::RoomPins,
};

/// Keeps the state of a room in memory while it lives.
#[derive(Debug)]
pub struct PinnedState {
    live: Live,
    room_nid: RoomNid,
    _pins: RoomPins,
}

impl PinnedState {
    /// The state as of now. `None` if it has to be loaded anew.
    pub fn state(&self) -> Option<Arc<RoomState>> {
        self.live.0.cache.read().state(self.room_nid).cloned()
    }
}

impl Live {
    /// The state of a room, with all that is applied; loaded if it is not cached. `None` if the
    /// graph of the room is not known here.
    pub async fn room_state(&self, room_id: &RoomId) -> Result<Option<Arc<RoomState>>, Error> {
        match self.cached_state(room_id) {
            Some(state) => Ok(Some(state)),
            None => self.load_state(room_id, &mut RoomPins::new(self)).await,
        }
    }

    /// The same, and the state stays in memory while the result lives.
    pub async fn pin_room_state(&self, room_id: &RoomId) -> Result<Option<PinnedState>, Error> {
        let mut pins = RoomPins::new(self);
        let pin = |pins: &mut RoomPins| {
            let mut cache = self.0.cache.write();
            let room_nid = cache.room_nid(room_id)?;
            cache.state(room_nid)?.version()?;
            pins.pin(&mut cache, room_nid);
            Some(room_nid)
        };
        let mut room_nid = pin(&mut pins);
        if room_nid.is_none() {
            let state = self.load_state(room_id, &mut pins).await?;
            room_nid = state.map(|state| state.room_nid());
        }
        Ok(room_nid.map(|room_nid| PinnedState {
            live: self.clone(),
            room_nid,
            _pins: pins,
        }))
    }

    /// Whether parts of the state of a room are not known, if it is cached.
    pub fn is_partial(&self, room_nid: RoomNid) -> bool {
        let cache = self.0.cache.read();
        cache
            .state(room_nid)
            .is_some_and(|state| state.is_partial())
    }

    fn cached_state(&self, room_id: &RoomId) -> Option<Arc<RoomState>> {
        let cache = self.0.cache.read();
        let state = cache.state(cache.room_nid(room_id)?)?;
        // Of a room that one was only invited to more may be known by now.
        state.version().is_some().then(|| state.clone())
    }

    async fn load_state(
        &self,
        room_id: &RoomId,
        pins: &mut RoomPins,
    ) -> Result<Option<Arc<RoomState>>, Error> {
        let retention = LogRetention::begin(self);
        let mut db = self.0.database.snapshot().await?;
        let position = stream::position(&mut db).await?;
        let mut states = self
            .read_states(&mut db, RoomSelector::Id(room_id), position)
            .await?;
        db.commit().await?;
        let mut cache = self.0.cache.write();
        for batch in cache.log.clone() {
            catch_up_states(&mut states, &batch);
        }
        let Some(state) = states.into_values().next().map(Arc::new) else {
            drop(cache);
            drop(retention);
            return Ok(None);
        };
        let room_nid = state.room_nid();
        if cache
            .state(room_nid)
            .is_some_and(|cached| cached.version().is_none())
        {
            cache.remove_room(room_nid);
        }
        cache.insert_state(state.clone());
        pins.pin(&mut cache, room_nid);
        // Another task may have loaded it, and what is applied since is in that one.
        let state = cache.state(room_nid).cloned().unwrap_or(state);
        cache.evict(self.0.budget);
        drop(cache);
        drop(retention);
        Ok(Some(state))
    }

    /// Reads the state of a room that is locked in the database, and forgets what is cached of it.
    pub async fn reload_state(
        &self,
        db: &mut Connection,
        room_id: &RoomId,
    ) -> Result<Option<RoomState>, Error> {
        let position = stream::position(db).await?;
        let states = self
            .read_states(db, RoomSelector::Id(room_id), position)
            .await?;
        let state = states.into_values().next();
        if let Some(state) = &state {
            self.0.cache.write().remove_room(state.room_nid());
        }
        Ok(state)
    }

    /// Adds the state of a room that was made at a position, unless it has changed since.
    pub fn insert_created(&self, mut state: RoomState, position: StreamPosition) {
        state.loaded_at = position;
        let mut cache = self.0.cache.write();
        let last = cache.changes.get(&state.room_nid());
        // Later changes may have been forgotten.
        let is_known = cache.started <= position;
        if is_known && last.is_none_or(|last| *last <= position) {
            cache.insert_state(Arc::new(state));
            cache.evict(self.0.budget);
        }
    }

    /// Events of state by number: one query for all that are not in memory.
    pub async fn events(
        &self,
        nids: impl IntoIterator<Item = EventNid>,
    ) -> Result<HashMap<EventNid, Arc<Pdu>>, Error> {
        self.0.events.read(&self.0.database, nids).await
    }

    /// The events of state that are in memory by number.
    pub fn event_cache(&self) -> &EventCache {
        &self.0.events
    }

    /// The events of a whole state: one query for all that are not in memory.
    pub async fn whole_state(&self, state: &RoomState) -> Result<State, Error> {
        let members = state.members().iter().map(|(_, member)| member.event_nid);
        let events = self.events(members.chain(state.other_event_nids())).await?;
        let mut whole = state.core().clone();
        for pdu in events.into_values() {
            whole.insert(pdu);
        }
        Ok(whole)
    }
}
