//! State resolution: one state out of several.
//!
//! Spec: rooms v2, "State resolution"; rooms v12, "State resolution" (v2.1). The algorithm is
//! ruma's; here are the sets that it wants from the graph.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use ruma::{
    EventId, OwnedEventId,
    events::StateEventType,
    room_version_rules::StateResolutionVersion,
    state_res::{self, StateMap},
};

use crate::{Pdu, RoomVersion, State};

mod auth_chains;
mod subgraph;
mod v1;

pub use auth_chains::auth_difference;

/// Answers an event of the room by its id.
pub type Fetch<'a> = dyn Fn(&EventId) -> Option<Arc<Pdu>> + 'a;

/// Why states could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Events of the auth chains are not at hand; with them it can be tried again.
    #[error("{} events of the auth chains are missing", .0.len())]
    Missing(Vec<OwnedEventId>),
    /// The graph cannot be resolved.
    #[error("The state of the room cannot be resolved")]
    Graph(#[source] state_res::Error),
}

impl types::Fault for ResolveError {
    fn kind(&self) -> types::ErrorKind {
        types::ErrorKind::Internal
    }
}

/// Resolves the states after several forward extremities into one.
///
/// `fetch` must answer the events of the auth chains of what differs, as far as they are not in
/// one of the `forks`; [`ResolveError::Missing`] names those that it did not.
pub fn resolve(
    version: &RoomVersion,
    forks: &[State],
    fetch: &Fetch<'_>,
) -> Result<State, ResolveError> {
    let lookup = EventLookup::of(forks, fetch);
    if lookup.conflicted.is_empty() {
        return Ok(forks.first().cloned().unwrap_or_default());
    }
    let auth_difference = auth_chains::auth_difference_in(forks, &lookup)?;
    lookup.resolve(version, forks, auth_difference)
}

/// Resolves like [`resolve`], with the auth difference worked out elsewhere.
pub fn resolve_with(
    version: &RoomVersion,
    forks: &[State],
    auth_difference: HashSet<OwnedEventId>,
    fetch: &Fetch<'_>,
) -> Result<State, ResolveError> {
    let lookup = EventLookup::of(forks, fetch);
    if lookup.conflicted.is_empty() {
        return Ok(forks.first().cloned().unwrap_or_default());
    }
    lookup.resolve(version, forks, auth_difference)
}

/// The type and state key of a state event, as text.
type StateMapKey = (String, String);

/// The conflicted state of the forks, and lookup of events by id.
struct EventLookup<'a> {
    /// By type and state key, the events of the forks.
    conflicted: BTreeMap<StateMapKey, Vec<Arc<Pdu>>>,
    by_id: HashMap<OwnedEventId, Arc<Pdu>>,
    fetch: &'a Fetch<'a>,
}

impl<'a> EventLookup<'a> {
    fn of(forks: &[State], fetch: &'a Fetch<'a>) -> Self {
        let mut lookup = Self {
            conflicted: BTreeMap::new(),
            by_id: HashMap::new(),
            fetch,
        };
        let Some((first, others)) = forks.split_first() else {
            return lookup;
        };
        let differing = others.iter().flat_map(|other| first.diff(other));
        for event in differing.filter_map(|(old, new)| old.or(new)) {
            lookup.conflicted.entry(map_key(event)).or_default();
        }
        for ((event_type, key), events) in &mut lookup.conflicted {
            events.extend(
                forks
                    .iter()
                    .filter_map(|fork| fork.get(event_type, key))
                    .cloned(),
            );
            let ids = events
                .iter()
                .map(|event| (event.event_id().clone(), event.clone()));
            lookup.by_id.extend(ids);
        }
        lookup
    }

    fn event(&self, id: &EventId) -> Option<Arc<Pdu>> {
        self.by_id.get(id).cloned().or_else(|| (self.fetch)(id))
    }

    fn resolve(
        mut self,
        version: &RoomVersion,
        forks: &[State],
        auth_difference: HashSet<OwnedEventId>,
    ) -> Result<State, ResolveError> {
        let StateResolutionVersion::V2(rules) = version.resolution() else {
            return Ok(self.resolve_v1(version, forks));
        };
        let maps: Vec<StateMap<OwnedEventId>> = forks.iter().map(ids).collect();
        for event in forks.iter().flat_map(State::iter) {
            self.by_id
                .entry(event.event_id().clone())
                .or_insert_with(|| event.clone());
        }
        // An event that is in one chain of two is in the difference.
        let chains = vec![
            auth_difference.into_iter().collect(),
            [].into_iter().collect(),
        ];
        let resolved = state_res::resolve(
            version.authorization(),
            rules,
            &maps,
            chains,
            |id| self.event(id),
            |conflicted| {
                let ids = conflicted.values().flatten().cloned();
                Some(
                    subgraph::conflicted_subgraph(ids, &|id| self.event(id))
                        .into_iter()
                        .collect(),
                )
            },
        )
        .map_err(ResolveError::Graph)?;
        self.state(forks, &resolved)
    }

    fn resolve_v1(self, version: &RoomVersion, forks: &[State]) -> State {
        let mut state = forks.first().cloned().unwrap_or_default();
        let conflicted = &self.conflicted;
        let unconflicted = |event_type: &str, key: &str| {
            let map_key = (event_type.to_owned(), key.to_owned());
            let is_conflicted = conflicted.contains_key(&map_key);
            forks
                .first()?
                .get(event_type, key)
                .filter(|_| !is_conflicted)
                .cloned()
        };
        let conflicts = conflicted.values().cloned().collect();
        for event in v1::resolve(version, conflicts, &unconflicted) {
            state.insert(event);
        }
        state
    }

    /// The resolved state, as a change of the first fork so that they share what is equal.
    fn state(
        &self,
        forks: &[State],
        resolved: &StateMap<OwnedEventId>,
    ) -> Result<State, ResolveError> {
        let mut state = forks.first().cloned().unwrap_or_default();
        for (event_type, key) in self.conflicted.keys() {
            let map_key = (StateEventType::from(event_type.as_str()), key.clone());
            if !resolved.contains_key(&map_key) {
                state.remove(event_type, key);
            }
        }
        for ((event_type, key), id) in resolved {
            let event_type = crate::state::type_text(event_type);
            if state
                .get(&event_type, key)
                .is_some_and(|event| event.event_id() == id)
            {
                continue;
            }
            let event = self
                .event(id)
                .ok_or_else(|| ResolveError::Missing(vec![id.clone()]))?;
            state.insert(event);
        }
        Ok(state)
    }
}

fn map_key(event: &Pdu) -> StateMapKey {
    (
        event.event_type().to_owned(),
        event.state_key().unwrap_or_default().to_owned(),
    )
}

fn ids(state: &State) -> StateMap<OwnedEventId> {
    state
        .iter()
        .map(|event| {
            let (event_type, key) = map_key(event);
            (
                (StateEventType::from(event_type), key),
                event.event_id().clone(),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests;
