//! Completing the state of one room.

use std::collections::{BTreeSet, HashMap, HashSet};

use ruma::{OwnedEventId, RoomId};
use storage::{
    CommitError, StoredEvent, events,
    partial_states::{self, PartialState},
};

use crate::{
    Error, Rooms,
    append::received::{Graph, StatesAfter, as_received, missing_before, nids_for},
    head::Head,
};

/// How often events that came meanwhile may ask for more.
const MAX_ROUNDS: usize = 8;
/// Numbers for the states of the room besides those at events.
const SPARE_NIDS: usize = 8;

/// A room of which parts of the state are not known, with what follows the joins.
struct Unchecked {
    partial: PartialState,
    events: Vec<StoredEvent>,
}

impl Rooms {
    /// Fetches what is not known of a room's state, and judges once more what came since the joins.
    #[tracing::instrument(name = "room.complete_state", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub(super) async fn complete_state(&self, room_id: &RoomId) -> Result<(), Error> {
        let started = self.0.clock.now_ms();
        let mut states = StatesAfter::new();
        for _ in 0..MAX_ROUNDS {
            let head = self.head(room_id).await?;
            let unchecked = {
                let mut db = self.0.database.acquire().await?;
                unchecked(&mut db, &head).await?
            };
            let Some(unchecked) = unchecked else {
                return Ok(());
            };
            let known = self.known_before(&unchecked.events).await?;
            let joins = &unchecked.partial.join_nids;
            let mut missing = missing_before(&unchecked.events, &known, joins);
            missing.retain(|event_id| !states.contains_key(event_id));
            let partial = &unchecked.partial;
            let fetched = self.fetch_states_after(&head, partial, missing, &mut states);
            if let Err(error) = fetched.await {
                if self.is_resident(&head) {
                    return Err(error);
                }
                // Nobody of this server needs the room any more, and others may not answer.
                tracing::info!(room.id = %room_id, %error, "The state of a room that was left is not completed");
                return self.give_up(room_id).await;
            }
            if self.try_complete(room_id, &states).await? {
                tracing::info!(
                    room.id = %room_id,
                    duration_ms = self.0.clock.now_ms().saturating_sub(started),
                    "The whole state of a room is known"
                );
                return Ok(());
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// The events, and those that they follow.
    async fn known_before(
        &self,
        events: &[StoredEvent],
    ) -> Result<HashMap<OwnedEventId, StoredEvent>, Error> {
        let own = events.iter().map(|event| event.pdu.event_id());
        let mut named: HashSet<OwnedEventId> = own.cloned().collect();
        named.extend(
            events
                .iter()
                .flat_map(|event| event.pdu.prev_events().iter().cloned()),
        );
        let named: Vec<OwnedEventId> = named.into_iter().collect();
        let mut db = self.0.database.acquire().await?;
        let found = events::by_ids(&mut db, &named).await?.into_iter();
        Ok(found
            .map(|event| (event.pdu.event_id().clone(), event))
            .collect())
    }

    /// Judges the events with these states; `false` if events that came meanwhile ask for more.
    async fn try_complete(&self, room_id: &RoomId, states: &StatesAfter) -> Result<bool, Error> {
        let entry = self.0.heads.get(room_id);
        let mut locked = self.lock_room(room_id, &entry).await?;
        let head = locked.head.clone();
        let Some(unchecked) = unchecked(&mut locked.tx, &head).await? else {
            return Ok(true);
        };
        let Unchecked { partial, events } = unchecked;
        let received = as_received(&events);
        let nids = nids_for(&received) + states.len() + SPARE_NIDS;
        let nids = self.0.nids.allocate(nids).await?;
        let mut graph = Graph::new(self, &mut locked.tx, &head, &received, nids).await?;
        let joins = &partial.join_nids;
        let missing: BTreeSet<OwnedEventId> = graph.missing_before(&events, joins);
        if missing
            .iter()
            .any(|event_id| !states.contains_key(event_id))
        {
            return Ok(false);
        }
        let rechecks = graph.recheck(&events, joins, states, partial.servers);
        let rechecks = Box::pin(rechecks).await?;
        let write = Box::pin(graph.finish_recheck(rechecks)).await?;
        locked.commit(self, write).await?;
        Ok(true)
    }
}

impl Rooms {
    /// Leaves the state of a room as it is known.
    async fn give_up(&self, room_id: &RoomId) -> Result<(), Error> {
        let entry = self.0.heads.get(room_id);
        let mut locked = self.lock_room(room_id, &entry).await?;
        let head = locked.head.clone();
        let partial = partial_states::find(&mut locked.tx, head.room_nid).await?;
        if partial.is_none() || self.is_resident(&head) {
            return Ok(());
        }
        let graph = Graph::new(self, &mut locked.tx, &head, &[], Vec::new()).await?;
        let write = graph.finish_unchecked();
        locked.commit(self, write).await
    }
}

/// What is to be judged once more in a room; none if its whole state is known.
async fn unchecked(db: &mut storage::Connection, head: &Head) -> Result<Option<Unchecked>, Error> {
    let Some(partial) = partial_states::find(&mut *db, head.room_nid).await? else {
        return Ok(None);
    };
    let joins = events::by_nids(&mut *db, &partial.join_nids).await?;
    let first = joins.iter().filter_map(|join| join.history_order).min();
    let first = first.ok_or_else(|| {
        storage::Error::Corrupt("a join that is not part of its room's history".to_owned())
    })?;
    let events = events::all_from(&mut *db, head.room_nid, first).await?;
    Ok(Some(Unchecked { partial, events }))
}
