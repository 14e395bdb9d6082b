//! Receiving events of other servers into rooms that are known here.
//!
//! Spec: server-server, "PDUs", "Checks performed on receipt of a PDU". What an event names and is
//! not known is fetched first; then the room is locked, and the events are added to its graph.

mod branches;
mod inbox;
mod missing;
pub(crate) mod order;
mod transaction;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use event::{Pdu, Verdict, acl::ServerAcl};
use ruma::{OwnedEventId, RoomId, ServerName};
use serde_json::value::RawValue;
use storage::{CommitError, relayed_events};

pub(crate) use inbox::Inbox;
pub(crate) use transaction::ReceivedTransactions;

use crate::{
    Error, Rooms,
    append::received::{Graph, IfDenied, Outcome, Received, nids_for},
    head::Head,
    outliers::{RoomIdentity, blocking},
    policy_server::policy_server,
};

/// The most events that are written together.
const MAX_WRITE: usize = 50;

/// How often a write is tried.
const MAX_ATTEMPTS: usize = 3;

/// Why an event was not taken into its room; nothing if it was, or is there.
pub type EventResult = Result<(), String>;

/// What became of events, by their ids.
type Results = HashMap<OwnedEventId, EventResult>;

impl Rooms {
    /// Receives events of one room that another server sends. Of a room that is not known here
    /// nothing is said, as the ids of its events are not known either.
    #[tracing::instrument(name = "room.receive", skip_all, fields(room.id = %room_id, server.name = %origin, events = events.len()))]
    pub async fn receive(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        events: Vec<Box<RawValue>>,
    ) -> Result<Vec<(OwnedEventId, EventResult)>, Error> {
        let head = self.head(room_id).await?;
        let room = RoomIdentity::of(&head);
        let parsed = {
            let (room, events) = (room.clone(), events.clone());
            blocking(move || parse(&room, &events)).await?
        };
        let refusal = self.refusal(&head, origin);
        let mut results = Results::new();
        for event_id in &parsed {
            let result = refusal.map_or(Ok(()), |reason| Err(reason.to_owned()));
            results.insert(event_id.clone(), result);
        }
        if refusal.is_none() {
            self.receive_checked(origin, &room, &head, events, &mut results)
                .await?;
        } else if !self.is_resident(&head) {
            for event_id in self.receive_removals(&room, &head, events).await? {
                results.insert(event_id, Ok(()));
            }
        }
        Ok(results.into_iter().collect())
    }

    /// Why nothing is taken from a server for a room.
    pub(crate) fn refusal(&self, head: &Head, origin: &ServerName) -> Option<&'static str> {
        if !self.is_resident(head) {
            return Some("This server is not in the room");
        }
        if !ServerAcl::of(head.state.core()).allows(origin) {
            return Some("The room does not allow your server");
        }
        None
    }

    async fn receive_checked(
        &self,
        origin: &ServerName,
        room: &RoomIdentity,
        head: &Head,
        events: Vec<Box<RawValue>>,
        results: &mut Results,
    ) -> Result<(), Error> {
        let verified = self.verify_events(room, events).await?;
        let verified: Vec<Arc<Pdu>> = self.unknown(room, verified).await?;
        let of_sender: HashSet<OwnedEventId> =
            verified.iter().map(|pdu| pdu.event_id().clone()).collect();
        let known = self
            .known_events_in_history(room, results.keys().cloned().collect())
            .await?;
        for (event_id, result) in results.iter_mut() {
            if !of_sender.contains(event_id) && !known.contains(event_id) {
                *result = Err("The event is not signed as it must be".to_owned());
            }
        }
        for (event_id, outcome) in self.add_with_missing(origin, room, head, verified).await? {
            if let Some(result) = results.get_mut(&event_id) {
                *result = match outcome {
                    // It is judged once more when the whole state is known.
                    Outcome::Stored(Verdict::Rejected) if head.state.is_partial() => Ok(()),
                    Outcome::Stored(Verdict::Rejected) | Outcome::Denied(_) => {
                        Err("The room's rules do not allow the event".to_owned())
                    }
                    // Nothing is wrong with one that is not connected.
                    Outcome::Stored(_) | Outcome::Unconnected => Ok(()),
                    Outcome::Dropped(reason) => Err(reason.to_owned()),
                };
            }
        }
        Ok(())
    }

    /// Adds verified events to a room, after what is missing of those before them, which the server
    /// is asked for.
    pub(crate) async fn add_with_missing(
        &self,
        origin: &ServerName,
        room: &RoomIdentity,
        head: &Head,
        verified: Vec<Arc<Pdu>>,
    ) -> Result<HashMap<OwnedEventId, Outcome>, Error> {
        let received = self.with_missing(origin, room, head, verified).await?;
        let mut outcomes = HashMap::new();
        for events in order::writes(received, MAX_WRITE) {
            outcomes.extend(self.add_received(room, &events).await?);
        }
        self.merge_branches(&room.room_id).await?;
        Ok(outcomes)
    }

    /// Adds verified events to their room in one write; parents come before their children.
    pub(crate) async fn add_received(
        &self,
        room: &RoomIdentity,
        events: &[Received],
    ) -> Result<Vec<(OwnedEventId, Outcome)>, Error> {
        self.add_events(room, events, IfDenied::Store).await
    }

    /// Adds a verified event that another server asks this one to take into the room, if the rules
    /// allow it. It is passed on: its server may not know the others in the room.
    pub(crate) async fn add_allowed(
        &self,
        room: &RoomIdentity,
        pdu: Arc<Pdu>,
    ) -> Result<Outcome, Error> {
        let received = Received::of(pdu);
        let added = self.add_events(room, &[received], IfDenied::Refuse).await?;
        let outcome = added.into_iter().next();
        let (_, outcome) = outcome.ok_or(Error::UnknownEvent)?;
        Ok(outcome)
    }

    /// Adds verified events once the room's policy server was asked about them, if there is one.
    pub(crate) async fn add_events(
        &self,
        room: &RoomIdentity,
        events: &[Received],
        if_denied: IfDenied,
    ) -> Result<Vec<(OwnedEventId, Outcome)>, Error> {
        let head = self.head(&room.room_id).await?;
        let asked = match policy_server(&head) {
            Some(policy) => {
                let asked = self.with_recommendations(&policy, &head.version, events);
                Some(asked.await)
            }
            None => None,
        };
        let events = asked.as_deref().unwrap_or(events);
        for _ in 1..MAX_ATTEMPTS {
            match self.try_add(room, events, if_denied).await {
                // An event was stored as an outlier meanwhile.
                Err(Error::Commit(CommitError::Failed(error))) if !error.is_unavailable() => {}
                result => return result,
            }
        }
        self.try_add(room, events, if_denied).await
    }

    async fn try_add(
        &self,
        room: &RoomIdentity,
        events: &[Received],
        if_denied: IfDenied,
    ) -> Result<Vec<(OwnedEventId, Outcome)>, Error> {
        let entry = self.0.heads.get(&room.room_id);
        let nids = self.0.nids.allocate(nids_for(events)).await?;
        let mut locked = self.lock_room(&room.room_id, &entry).await?;
        let head = locked.head.clone();
        let mut graph = Graph::new(self, &mut locked.tx, &head, events, nids).await?;
        let mut outcomes = Vec::with_capacity(events.len());
        for event in events {
            let outcome = Box::pin(graph.add(event, if_denied)).await?;
            outcomes.push((event.pdu.event_id().clone(), outcome));
        }
        if let Some(write) = graph.finish() {
            if if_denied == IfDenied::Refuse {
                let others = events
                    .iter()
                    .filter(|event| !self.is_local(event.pdu.sender()));
                for event in others {
                    relayed_events::insert(&mut locked.tx, event.pdu.event_id()).await?;
                }
            }
            locked.commit(self, write).await?;
        }
        Ok(outcomes)
    }

    /// Those of the events that are not in the room's history.
    pub(crate) async fn unknown(
        &self,
        room: &RoomIdentity,
        events: Vec<Arc<Pdu>>,
    ) -> Result<Vec<Arc<Pdu>>, Error> {
        let ids = events.iter().map(|pdu| pdu.event_id().clone()).collect();
        let known = self.known_events_in_history(room, ids).await?;
        let mut events = events;
        events.retain(|pdu| !known.contains(pdu.event_id()));
        Ok(events)
    }
}

/// The ids of the events that have the form of events of the room.
fn parse(room: &RoomIdentity, events: &[Box<RawValue>]) -> Vec<OwnedEventId> {
    let parsed = events.iter().filter_map(|event| {
        let pdu = Pdu::parse(event.get(), &room.version).ok()?;
        (*pdu.room_id() == room.room_id).then(|| pdu.event_id().clone())
    });
    parsed.collect()
}
