//! The auth difference: events in the auth chains of some states but not of all.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ruma::OwnedEventId;

use super::{EventLookup, Fetch, ResolveError};
use crate::{Pdu, State};

/// The events that are in the auth chain of at least one of the states, but not of all.
pub fn auth_difference(
    forks: &[State],
    fetch: &Fetch<'_>,
) -> Result<HashSet<OwnedEventId>, ResolveError> {
    auth_difference_in(forks, &EventLookup::of(forks, fetch))
}

/// What all states have in common adds the same chain to each, so that only the chains of what
/// differs are walked whole; the common one is searched only for the remaining candidates.
pub(super) fn auth_difference_in(
    forks: &[State],
    lookup: &EventLookup<'_>,
) -> Result<HashSet<OwnedEventId>, ResolveError> {
    let mut missing = HashSet::new();
    let mut count: HashMap<OwnedEventId, usize> = HashMap::new();
    for fork in forks {
        let differing = lookup
            .conflicted
            .keys()
            .filter_map(|(event_type, key)| fork.get(event_type, key))
            .flat_map(|event| event.auth_events().iter().cloned());
        for id in chain(differing.collect(), lookup, &mut missing) {
            *count.entry(id).or_default() += 1;
        }
    }
    let mut candidates: HashSet<OwnedEventId> = count
        .into_iter()
        .filter(|(_, n)| *n < forks.len())
        .map(|(id, _)| id)
        .collect();
    if let Some(first) = forks.first() {
        remove_common(&mut candidates, first, lookup, &mut missing);
    }
    if missing.is_empty() {
        Ok(candidates)
    } else {
        Err(ResolveError::Missing(missing.into_iter().collect()))
    }
}

/// All events in the auth chains that begin with `start`.
fn chain(
    start: Vec<OwnedEventId>,
    lookup: &EventLookup<'_>,
    missing: &mut HashSet<OwnedEventId>,
) -> HashSet<OwnedEventId> {
    let mut seen = HashSet::new();
    let mut open = start;
    while let Some(id) = open.pop() {
        if seen.contains(&id) {
            continue;
        }
        match lookup.event(&id) {
            Some(event) => open.extend(event.auth_events().iter().cloned()),
            None => drop(missing.insert(id.clone())),
        }
        seen.insert(id);
    }
    seen
}

/// Removes from `candidates` what is in the auth chain of the state that all forks share.
///
/// Breadth first with an early stop: most candidates are one step away.
fn remove_common(
    candidates: &mut HashSet<OwnedEventId>,
    fork: &State,
    lookup: &EventLookup<'_>,
    missing: &mut HashSet<OwnedEventId>,
) {
    let is_shared = |event: &&Arc<Pdu>| {
        let map_key = (
            event.event_type().to_owned(),
            event.state_key().unwrap_or_default().to_owned(),
        );
        !lookup.conflicted.contains_key(&map_key)
    };
    let mut seen: HashSet<OwnedEventId> = HashSet::new();
    let mut layer: Vec<OwnedEventId> = Vec::new();
    if !candidates.is_empty() {
        let direct = fork
            .iter()
            .filter(is_shared)
            .flat_map(|event| event.auth_events());
        layer.extend(direct.filter(|id| seen.insert((*id).clone())).cloned());
    }
    while !layer.is_empty() {
        for id in &layer {
            candidates.remove(id);
        }
        if candidates.is_empty() {
            return;
        }
        let mut next = Vec::new();
        for id in layer {
            match lookup.event(&id) {
                Some(event) => {
                    let unseen = event
                        .auth_events()
                        .iter()
                        .filter(|id| seen.insert((*id).clone()));
                    next.extend(unseen.cloned());
                }
                None => drop(missing.insert(id)),
            }
        }
        layer = next;
    }
}
