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
    state_res::{self, StateMap},
};

use crate::{Pdu, RoomVersion, State};

mod chains;
mod subgraph;

pub use chains::auth_difference;

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
    let known = Known::of(forks, fetch);
    if known.conflicted.is_empty() {
        return Ok(forks.first().cloned().unwrap_or_default());
    }
    let difference = chains::difference(forks, &known)?;
    known.resolve(version, forks, difference)
}

/// Resolves like [`resolve`], with the auth difference worked out elsewhere.
pub fn resolve_with(
    version: &RoomVersion,
    forks: &[State],
    auth_difference: HashSet<OwnedEventId>,
    fetch: &Fetch<'_>,
) -> Result<State, ResolveError> {
    let known = Known::of(forks, fetch);
    if known.conflicted.is_empty() {
        return Ok(forks.first().cloned().unwrap_or_default());
    }
    known.resolve(version, forks, auth_difference)
}

/// A place in the state where the forks differ, as text.
type Place = (String, String);

/// The forks' differences, and every way to an event.
struct Known<'a> {
    /// By place, what each fork that has something there has.
    conflicted: BTreeMap<Place, Vec<Arc<Pdu>>>,
    by_id: HashMap<OwnedEventId, Arc<Pdu>>,
    fetch: &'a Fetch<'a>,
}

impl<'a> Known<'a> {
    fn of(forks: &[State], fetch: &'a Fetch<'a>) -> Self {
        let mut known = Self {
            conflicted: BTreeMap::new(),
            by_id: HashMap::new(),
            fetch,
        };
        let Some((first, others)) = forks.split_first() else {
            return known;
        };
        let differing = others.iter().flat_map(|other| first.diff(other));
        for event in differing.filter_map(|(old, new)| old.or(new)) {
            known.conflicted.entry(place(event)).or_default();
        }
        for ((kind, key), events) in &mut known.conflicted {
            events.extend(forks.iter().filter_map(|fork| fork.get(kind, key)).cloned());
            let ids = events
                .iter()
                .map(|event| (event.event_id().clone(), event.clone()));
            known.by_id.extend(ids);
        }
        known
    }

    fn event(&self, id: &EventId) -> Option<Arc<Pdu>> {
        self.by_id.get(id).cloned().or_else(|| (self.fetch)(id))
    }

    fn resolve(
        mut self,
        version: &RoomVersion,
        forks: &[State],
        difference: HashSet<OwnedEventId>,
    ) -> Result<State, ResolveError> {
        let maps: Vec<StateMap<OwnedEventId>> = forks.iter().map(ids).collect();
        for event in forks.iter().flat_map(State::iter) {
            self.by_id
                .entry(event.event_id().clone())
                .or_insert_with(|| event.clone());
        }
        // An event that is in one chain of two is in the difference.
        let chains = vec![difference.into_iter().collect(), [].into_iter().collect()];
        let resolved = state_res::resolve(
            version.authorization(),
            version.resolution(),
            &maps,
            chains,
            |id| self.event(id),
            |conflicted| {
                let ids = conflicted.values().flatten().cloned();
                Some(
                    subgraph::between(ids, &|id| self.event(id))
                        .into_iter()
                        .collect(),
                )
            },
        )
        .map_err(ResolveError::Graph)?;
        self.state(forks, &resolved)
    }

    /// The resolved state, as a change of the first fork so that they share what is equal.
    fn state(
        &self,
        forks: &[State],
        resolved: &StateMap<OwnedEventId>,
    ) -> Result<State, ResolveError> {
        let mut state = forks.first().cloned().unwrap_or_default();
        for (kind, key) in self.conflicted.keys() {
            let place = (StateEventType::from(kind.as_str()), key.clone());
            if !resolved.contains_key(&place) {
                state.remove(kind, key);
            }
        }
        for ((kind, key), id) in resolved {
            let kind = crate::state::type_text(kind);
            if state
                .get(&kind, key)
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

fn place(event: &Pdu) -> Place {
    (
        event.kind().to_owned(),
        event.state_key().unwrap_or_default().to_owned(),
    )
}

fn ids(state: &State) -> StateMap<OwnedEventId> {
    state
        .iter()
        .map(|event| {
            let (kind, key) = place(event);
            ((StateEventType::from(kind), key), event.event_id().clone())
        })
        .collect()
}

#[cfg(test)]
mod tests;
