//! Fetching what received events name and is not known.
//!
//! Spec: server-server, "Retrieving missing events"; bounded, since what a server sends may name
//! anything.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use event::{Pdu, Verdict};
use federation::Gap;
use futures::{StreamExt as _, stream};
use ruma::{OwnedEventId, ServerName};
use serde_json::value::RawValue;
use storage::{events, stream::StateEvent};

use super::order;
use crate::{
    Error, Rooms,
    append::received::{FetchedState, Received},
    head::Head,
    outliers::{KnownEvents, RoomIdentity},
};

/// How often a server is asked for events before some events.
const MAX_ROUNDS: usize = 5;
/// How many of them it is asked for at once.
const MAX_MISSING: u32 = 50;
/// How many it returns at least if it has more: servers send no more than this at once.
const FULL_PAGE: usize = 20;
/// The most parents of which the state is fetched.
const MAX_STATES: usize = 20;
/// The most events that are fetched one by one; of more the whole state is.
const MAX_SINGLE: usize = 100;
/// How many of these at once.
const PARALLEL: usize = 8;

impl Rooms {
    /// The events of the room's history among some, whatever their verdicts.
    pub(crate) async fn known_events_in_history(
        &self,
        room: &RoomIdentity,
        event_ids: Vec<OwnedEventId>,
    ) -> Result<HashSet<OwnedEventId>, Error> {
        if event_ids.is_empty() {
            return Ok(HashSet::new());
        }
        let mut db = self.0.database.acquire().await?;
        let found = events::by_ids(&mut db, &event_ids).await?.into_iter();
        let found =
            found.filter(|event| event.room_nid == room.room_nid && event.snapshot_nid.is_some());
        Ok(found.map(|event| event.pdu.event_id().clone()).collect())
    }

    /// The verified events with those before them that are missing, in the order in which they are
    /// to be added. What authorises them is stored.
    pub(super) async fn with_missing(
        &self,
        origin: &ServerName,
        room: &RoomIdentity,
        head: &Head,
        events: Vec<Arc<Pdu>>,
    ) -> Result<Vec<Received>, Error> {
        let sent: HashSet<OwnedEventId> = events.iter().map(|pdu| pdu.event_id().clone()).collect();
        let mut events = events;
        let mut missing = self.missing_parents(room, &events).await?;
        for _ in 0..MAX_ROUNDS {
            if missing.is_empty() {
                break;
            }
            let found = self
                .fetch_before(origin, room, head, &events, &missing)
                .await;
            let is_full = found.len() >= FULL_PAGE;
            let known: HashSet<&OwnedEventId> = events.iter().map(|pdu| pdu.event_id()).collect();
            let mut found = found;
            found.retain(|pdu| !known.contains(pdu.event_id()));
            let found = self.unknown(room, found).await?;
            if found.is_empty() {
                break;
            }
            events.extend(found);
            missing = self.missing_parents(room, &events).await?;
            if !is_full {
                break;
            }
        }
        self.with_states(origin, room, order::sorted(events), &sent)
            .await
    }

    /// The verified events with the states where the events before them are not known. What
    /// authorises them is stored.
    ///
    /// What is before the events that the server has `sent` it must tell: they may become the only
    /// end of the graph, whose state is not to be taken from it alone.
    pub(super) async fn with_states(
        &self,
        origin: &ServerName,
        room: &RoomIdentity,
        events: Vec<Arc<Pdu>>,
        sent: &HashSet<OwnedEventId>,
    ) -> Result<Vec<Received>, Error> {
        let missing = self.missing_parents(room, &events).await?;
        let fetched = events.iter().filter(|pdu| !sent.contains(pdu.event_id()));
        let of_fetched: HashSet<&OwnedEventId> =
            fetched.flat_map(|pdu| pdu.prev_events()).collect();
        let missing = missing.into_iter().filter(|id| of_fetched.contains(id));
        let mut fetched_states: HashMap<OwnedEventId, FetchedState> = HashMap::new();
        for event_id in missing.take(MAX_STATES) {
            match self.fetch_state(origin, room, &event_id, true).await {
                Ok(state) => {
                    fetched_states.insert(event_id, state);
                }
                Err(error) => {
                    tracing::info!(event.id = %event_id, %error, "The state at a missing event could not be fetched");
                }
            }
        }
        // Most of it is known with the states.
        self.fetch_auth_events(origin, room, &events).await?;
        let received = events.into_iter().map(|pdu| {
            let states = pdu
                .prev_events()
                .iter()
                .filter_map(|id| fetched_states.get(id));
            let fetched_states = if sent.contains(pdu.event_id()) {
                Vec::new()
            } else {
                states.cloned().collect()
            };
            Received {
                fetched_states,
                ..Received::of(pdu)
            }
        });
        Ok(received.collect())
    }

    /// The parents of events that are neither known nor among the events.
    async fn missing_parents(
        &self,
        room: &RoomIdentity,
        events: &[Arc<Pdu>],
    ) -> Result<Vec<OwnedEventId>, Error> {
        let own: HashSet<&OwnedEventId> = events.iter().map(|pdu| pdu.event_id()).collect();
        let parents = events.iter().flat_map(|pdu| pdu.prev_events());
        let parents: HashSet<OwnedEventId> =
            parents.filter(|id| !own.contains(id)).cloned().collect();
        let parents: Vec<OwnedEventId> = parents.into_iter().collect();
        let known = self.known_events_in_history(room, parents.clone()).await?;
        let missing = parents.into_iter().filter(|id| !known.contains(id));
        Ok(missing.collect())
    }

    /// Asks for what is before the events that name missing ones.
    async fn fetch_before(
        &self,
        origin: &ServerName,
        room: &RoomIdentity,
        head: &Head,
        events: &[Arc<Pdu>],
        missing: &[OwnedEventId],
    ) -> Vec<Arc<Pdu>> {
        let names_missing =
            |pdu: &&Arc<Pdu>| pdu.prev_events().iter().any(|id| missing.contains(id));
        let latest = events.iter().filter(names_missing);
        let latest: Vec<OwnedEventId> = latest.map(|pdu| pdu.event_id().clone()).collect();
        let earliest = head.state.extremities().iter();
        let earliest: Vec<OwnedEventId> = earliest.map(|(_, id)| id.clone()).collect();
        let gap = Gap {
            earliest: &earliest,
            latest: &latest,
            limit: MAX_MISSING,
        };
        let fetched = self.0.federation.missing_events(origin, &room.room_id, gap);
        let mut fetched = match fetched.await {
            Ok(fetched) => fetched,
            Err(error) => {
                tracing::info!(server.name = %origin, %error, "Missing events could not be fetched");
                return Vec::new();
            }
        };
        fetched.truncate(MAX_MISSING as usize);
        match self.verify_events(room, fetched).await {
            Ok(verified) => verified,
            Err(error) => {
                tracing::info!(server.name = %origin, %error, "Missing events could not be verified");
                Vec::new()
            }
        }
    }

    /// Stores the events that authorise others and are neither known nor among these.
    pub(crate) async fn fetch_auth_events(
        &self,
        origin: &ServerName,
        room: &RoomIdentity,
        events: &[Arc<Pdu>],
    ) -> Result<(), Error> {
        let own: HashSet<&OwnedEventId> = events.iter().map(|pdu| pdu.event_id()).collect();
        let named = events.iter().flat_map(|pdu| pdu.auth_events());
        let named: HashSet<OwnedEventId> = named.filter(|id| !own.contains(id)).cloned().collect();
        let named: Vec<OwnedEventId> = named.into_iter().collect();
        let mut known: HashSet<OwnedEventId> =
            self.known_events(room, &named).await?.into_keys().collect();
        for pdu in events {
            let is_known = |id: &OwnedEventId| known.contains(id) || own.contains(id);
            if pdu.auth_events().iter().all(is_known) {
                continue;
            }
            let federation = &self.0.federation;
            match federation
                .event_auth(origin, &room.room_id, pdu.event_id())
                .await
            {
                Ok(chain) => known.extend(self.store_fetched(room, chain).await?.into_keys()),
                Err(error) => {
                    tracing::info!(event.id = %pdu.event_id(), %error, "The events that authorise an event could not be fetched");
                }
            }
        }
        Ok(())
    }

    /// Verifies events and stores them as outliers.
    async fn store_fetched(
        &self,
        room: &RoomIdentity,
        events: Vec<Box<RawValue>>,
    ) -> Result<KnownEvents, Error> {
        let verified = self.verify_events(room, events).await?;
        self.store_outliers(room, verified).await
    }

    /// The state before an event, as another server tells it; with `including` the state after it,
    /// which has the event if it is state.
    pub(crate) async fn fetch_state(
        &self,
        origin: &ServerName,
        room: &RoomIdentity,
        event_id: &OwnedEventId,
        including: bool,
    ) -> Result<FetchedState, Error> {
        let federation = &self.0.federation;
        let ids = federation
            .state_ids(origin, &room.room_id, event_id)
            .await?;
        let mut wanted: Vec<OwnedEventId> = ids.state.clone();
        wanted.extend(including.then(|| event_id.clone()));
        let mut all = wanted.clone();
        all.extend(ids.auth_chain);
        let mut known = self.known_events(room, &all).await?;
        all.retain(|id| !known.contains_key(id));
        if !all.is_empty() {
            let fetched = self.fetch_events(origin, room, event_id, all).await?;
            self.store_fetched(room, fetched).await?;
            known = self.known_events(room, &wanted).await?;
        }
        if including && !known.contains_key(event_id) {
            return Err(Error::Invalid("The event itself is not known".to_owned()));
        }
        let state: Vec<&StateEvent> = (wanted.iter().filter_map(|id| known.get(id)))
            .filter(|event| event.pdu.verdict() != Verdict::Rejected && event.pdu.is_state())
            .collect();
        if !state
            .iter()
            .any(|event| event.pdu.event_type() == "m.room.create")
        {
            return Err(Error::Invalid("The state has no create event".to_owned()));
        }
        let text = |event: &StateEvent| {
            let state_key = event.pdu.state_key().unwrap_or_default().to_owned();
            (event.pdu.event_type().to_owned(), state_key)
        };
        let keys = self
            .0
            .state_keys
            .ids(state.iter().map(|event| text(event)))
            .await?;
        // The event itself comes last, and replaces what was before it.
        let state: HashMap<_, _> = (state.iter())
            .filter_map(|event| Some((*keys.get(&text(event))?, event.nid)))
            .collect();
        Ok(state.into_iter().collect())
    }

    /// Fetches events that a state consists of, and those that authorise it.
    async fn fetch_events(
        &self,
        origin: &ServerName,
        room: &RoomIdentity,
        at: &OwnedEventId,
        wanted: Vec<OwnedEventId>,
    ) -> Result<Vec<Box<RawValue>>, Error> {
        let federation = &self.0.federation;
        let (mut fetched, mut single) = (Vec::new(), wanted);
        if single.len() > MAX_SINGLE {
            fetched = federation.state(origin, &room.room_id, at).await?;
            single = vec![at.clone()];
        }
        let requests = single.into_iter();
        let requests = requests.map(async |id| federation.event(origin, &id).await);
        let found = stream::iter(requests).buffer_unordered(PARALLEL);
        let found: Vec<_> = found.collect().await;
        fetched.extend(found.into_iter().flatten());
        Ok(fetched)
    }
}
