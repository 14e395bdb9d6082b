//! What state resolution needs from the graph of auth events, on numbers alone.

use std::collections::{HashMap, HashSet};

use ruma::room_version_rules::StateResolutionVersion;
use types::EventNid;

use super::{Conflict, ResolveError};
use crate::RoomVersion;

/// Events with the events that they name in `auth_events`.
pub type AuthEdges = HashMap<EventNid, Vec<EventNid>>;

/// The events that take part in a resolution: the conflicted ones, the auth difference, and in
/// version 2.1 the conflicted state subgraph. In version 1 only the conflicted ones do.
///
/// `edges` holds the auth chains of the conflicted events. `common` are the auth events of the
/// events that all states share: their chains are wanted too, as far as they are needed, and what
/// is not there is a [`ResolveError::Missing`].
pub fn full_conflicted_set(
    version: &RoomVersion,
    conflict: &Conflict,
    common: &[EventNid],
    edges: &AuthEdges,
) -> Result<HashSet<EventNid>, ResolveError> {
    let mut set: HashSet<EventNid> = conflict.events().collect();
    if let StateResolutionVersion::V2(rules) = version.resolution() {
        let conflicted = set.clone();
        set.extend(auth_difference(conflict, common, edges)?);
        if rules.consider_conflicted_state_subgraph {
            set.extend(conflicted_subgraph(conflicted, edges));
        }
    }
    Ok(set)
}

/// Events and all events of their auth chains.
pub fn auth_chains(
    events: impl IntoIterator<Item = EventNid>,
    edges: &AuthEdges,
) -> Result<HashSet<EventNid>, ResolveError> {
    let mut walk = Walk::new(edges);
    let mut found = HashSet::new();
    let mut open: Vec<EventNid> = events.into_iter().collect();
    while let Some(event) = open.pop() {
        if found.insert(event) {
            open.extend(walk.auth_events(event));
        }
    }
    walk.finish(found)
}

/// The events that are in the auth chain of at least one of the states, but not of all.
///
/// What all states have in common adds the same chain to each, so that only the chains of what
/// differs are walked whole; the common one is searched only for the remaining candidates.
pub(super) fn auth_difference(
    conflict: &Conflict,
    common: &[EventNid],
    edges: &AuthEdges,
) -> Result<HashSet<EventNid>, ResolveError> {
    let mut count: HashMap<EventNid, usize> = HashMap::new();
    for state in 0..conflict.states() {
        let mut walk = Walk::new(edges);
        let direct: Vec<EventNid> = conflict
            .events_of(state)
            .flat_map(|event| walk.auth_events(event))
            .collect();
        for event in auth_chains(walk.finish(direct)?, edges)? {
            *count.entry(event).or_default() += 1;
        }
    }
    let mut candidates: HashSet<EventNid> = count
        .into_iter()
        .filter(|(_, states)| *states < conflict.states())
        .map(|(event, _)| event)
        .collect();
    remove_common(&mut candidates, common, edges)?;
    Ok(candidates)
}

/// Removes from `candidates` what is in the auth chain of the events that all states share.
///
/// Breadth first with an early stop: most candidates are one step away.
fn remove_common(
    candidates: &mut HashSet<EventNid>,
    common: &[EventNid],
    edges: &AuthEdges,
) -> Result<(), ResolveError> {
    let mut walk = Walk::new(edges);
    let mut seen: HashSet<EventNid> = HashSet::new();
    let mut layer: Vec<EventNid> = common.to_vec();
    while !candidates.is_empty() && !layer.is_empty() {
        layer.retain(|event| seen.insert(*event));
        for event in &layer {
            candidates.remove(event);
        }
        if !candidates.is_empty() {
            layer = layer
                .into_iter()
                .flat_map(|event| walk.auth_events(event))
                .collect();
        }
    }
    walk.finish(())
}

/// All events on paths of auth events from one of `conflicted` to another, ends included.
///
/// Spec: rooms v12, "Definitions", conflicted state subgraph.
pub(super) fn conflicted_subgraph(
    conflicted: HashSet<EventNid>,
    edges: &AuthEdges,
) -> HashSet<EventNid> {
    // From the conflicted events downwards, and who led to whom.
    let mut led_by: HashMap<EventNid, Vec<EventNid>> = HashMap::new();
    let mut open: Vec<EventNid> = conflicted.iter().copied().collect();
    let mut seen = conflicted.clone();
    while let Some(event) = open.pop() {
        for below in edges.get(&event).into_iter().flatten() {
            led_by.entry(*below).or_default().push(event);
            if seen.insert(*below) {
                open.push(*below);
            }
        }
    }
    // From the conflicted events upwards again: whatever is met lies between two of them, since
    // everything in `led_by` was reached from one.
    let mut subgraph = conflicted;
    let mut open: Vec<EventNid> = subgraph.iter().copied().collect();
    while let Some(event) = open.pop() {
        for above in led_by.remove(&event).unwrap_or_default() {
            if subgraph.insert(above) {
                open.push(above);
            }
        }
    }
    subgraph
}

/// A walk along the edges that collects the events whose edges are not known.
struct Walk<'a> {
    edges: &'a AuthEdges,
    missing: Vec<EventNid>,
}

impl<'a> Walk<'a> {
    fn new(edges: &'a AuthEdges) -> Self {
        Self {
            edges,
            missing: Vec::new(),
        }
    }

    fn auth_events(&mut self, event: EventNid) -> impl Iterator<Item = EventNid> + use<'a> {
        let edges = self.edges.get(&event);
        if edges.is_none() {
            self.missing.push(event);
        }
        edges.into_iter().flatten().copied()
    }

    fn finish<T>(self, result: T) -> Result<T, ResolveError> {
        if self.missing.is_empty() {
            Ok(result)
        } else {
            Err(ResolveError::Missing(self.missing))
        }
    }
}
