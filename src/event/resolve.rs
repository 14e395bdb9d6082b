//! State resolution: one state out of several.
//!
//! Spec: rooms v1, v2 and v12, "State resolution". Version 2 and 2.1 of the algorithm are ruma's;
//! here are the sets of events that it needs from the graph. Version 1 is in `v1.rs`.
//!
//! Called when events of other servers have made a room's graph fork. Only the keys in which the
//! states differ are compared, and most of the work is done on numbers:
//!
//! 1. [`Conflict::between`] finds the keys in which the states differ.
//! 2. [`full_conflicted_set`] finds the events that take part. It needs the edges of the auth
//!    chains, as numbers.
//! 3. [`resolve`] needs these events with [their auth chains](auth_chains).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use ruma::{room_version_rules::StateResolutionVersion, state_res};
use types::{EventNid, StateKeyNid};

use crate::{Pdu, RoomVersion, State};

mod chains;
mod conflict;
mod v1;
mod v2;

pub use chains::{AuthEdges, auth_chains, full_conflicted_set};
pub use conflict::{Conflict, StateEntries};

/// Why states could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Not all events or edges were passed that are needed.
    #[error("{} events that state resolution needs are missing", .0.len())]
    Missing(Vec<EventNid>),
    /// The graph cannot be resolved.
    #[error("The state of the room cannot be resolved")]
    Graph(#[source] state_res::Error),
}

impl types::Fault for ResolveError {
    fn kind(&self) -> types::ErrorKind {
        types::ErrorKind::Internal
    }
}

/// What [`resolve`] works on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Where the states differ.
    pub conflict: &'a Conflict,
    /// The events that take part.
    pub full_conflicted_set: &'a HashSet<EventNid>,
    /// These events, and the events of their auth chains.
    pub events: &'a HashMap<EventNid, Arc<Pdu>>,
    /// One of the states; of the keys in which they do not differ, at least those that
    /// [`auth_types`](crate::auth::auth_types) has for the events that take part.
    pub state: &'a State,
}

/// Resolves the states: the event of each key in which they differ, or `None` if the resolved
/// state has none.
pub fn resolve(
    version: &RoomVersion,
    input: Input<'_>,
) -> Result<BTreeMap<StateKeyNid, Option<EventNid>>, ResolveError> {
    let resolver = Resolver::new(input)?;
    match version.resolution() {
        StateResolutionVersion::V2(rules) => v2::resolve(version, *rules, &resolver),
        _ => Ok(v1::resolve_conflict(version, &resolver)),
    }
}

/// The type and state key of a state event, as text.
type StateMapKey = (String, String);

/// Lookup of events by what the algorithms know them by.
struct Resolver<'a> {
    input: Input<'a>,
    nids: HashMap<&'a ruma::EventId, EventNid>,
    /// The keys in which the states differ.
    keys: BTreeMap<StateMapKey, StateKeyNid>,
}

impl<'a> Resolver<'a> {
    fn new(input: Input<'a>) -> Result<Self, ResolveError> {
        let conflicted: BTreeSet<EventNid> = input.conflict.events().collect();
        let all = conflicted.iter().chain(input.full_conflicted_set);
        let missing: Vec<EventNid> = all
            .filter(|nid| !input.events.contains_key(nid))
            .copied()
            .collect();
        if !missing.is_empty() {
            return Err(ResolveError::Missing(missing));
        }
        let nids = input.events.iter();
        let keys = input.conflict.keys().filter_map(|(key, events)| {
            let event = events.iter().flatten().next()?;
            Some((map_key(input.events.get(event)?), key))
        });
        Ok(Self {
            nids: nids.map(|(nid, pdu)| (&**pdu.event_id(), *nid)).collect(),
            keys: keys.collect(),
            input,
        })
    }

    /// An event by its number.
    fn event(&self, nid: EventNid) -> Option<&'a Arc<Pdu>> {
        self.input.events.get(&nid)
    }

    /// The event of a key in which the states do not differ.
    fn unconflicted(&self, event_type: &str, key: &str) -> Option<Arc<Pdu>> {
        let event = self.input.state.get(event_type, key)?;
        (!self.keys.contains_key(&map_key(event))).then(|| event.clone())
    }
}

fn map_key(event: &Pdu) -> StateMapKey {
    (
        event.event_type().to_owned(),
        event.state_key().unwrap_or_default().to_owned(),
    )
}

#[cfg(test)]
mod tests;
