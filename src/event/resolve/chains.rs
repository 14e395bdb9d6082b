//! Which events are in the auth chains of some states but not of all.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ruma::OwnedEventId;

use super::{Fetch, Known, ResolveError};
use crate::{Pdu, State};

/// The events that are in the auth chain of at least one of the states, but not of all.
pub fn auth_difference(
    forks: &[State],
    fetch: &Fetch<'_>,
) -> Result<HashSet<OwnedEventId>, ResolveError> {
    difference(forks, &Known::of(forks, fetch))
}

/// What all states have in common adds the same chain to each, so that only the chains of what
/// differs are walked whole; the common one is asked only about what is in doubt.
pub(super) fn difference(
    forks: &[State],
    known: &Known<'_>,
) -> Result<HashSet<OwnedEventId>, ResolveError> {
    let mut missing = HashSet::new();
    let mut count: HashMap<OwnedEventId, usize> = HashMap::new();
    for fork in forks {
        let differing = known
            .conflicted
            .keys()
            .filter_map(|(kind, key)| fork.get(kind, key))
            .flat_map(|event| event.auth_events().iter().cloned());
        for id in chain(differing.collect(), known, &mut missing) {
            *count.entry(id).or_default() += 1;
        }
    }
    let mut doubtful: HashSet<OwnedEventId> = count
        .into_iter()
        .filter(|(_, n)| *n < forks.len())
        .map(|(id, _)| id)
        .collect();
    if let Some(first) = forks.first() {
        settle(&mut doubtful, first, known, &mut missing);
    }
    if missing.is_empty() {
        Ok(doubtful)
    } else {
        Err(ResolveError::Missing(missing.into_iter().collect()))
    }
}

/// All events in the auth chains that begin with `start`.
fn chain(
    start: Vec<OwnedEventId>,
    known: &Known<'_>,
    missing: &mut HashSet<OwnedEventId>,
) -> HashSet<OwnedEventId> {
    let mut seen = HashSet::new();
    let mut open = start;
    while let Some(id) = open.pop() {
        if seen.contains(&id) {
            continue;
        }
        match known.event(&id) {
            Some(event) => open.extend(event.auth_events().iter().cloned()),
            None => drop(missing.insert(id.clone())),
        }
        seen.insert(id);
    }
    seen
}

/// Removes from `doubtful` what is in the auth chain of the state that all forks share.
///
/// Goes breadth first and stops early: what is in doubt mostly stands one step away.
fn settle(
    doubtful: &mut HashSet<OwnedEventId>,
    fork: &State,
    known: &Known<'_>,
    missing: &mut HashSet<OwnedEventId>,
) {
    let is_shared = |event: &&Arc<Pdu>| {
        let place = (
            event.kind().to_owned(),
            event.state_key().unwrap_or_default().to_owned(),
        );
        !known.conflicted.contains_key(&place)
    };
    let mut seen: HashSet<OwnedEventId> = HashSet::new();
    let mut layer: Vec<OwnedEventId> = Vec::new();
    if !doubtful.is_empty() {
        let direct = fork
            .iter()
            .filter(is_shared)
            .flat_map(|event| event.auth_events());
        layer.extend(direct.filter(|id| seen.insert((*id).clone())).cloned());
    }
    while !layer.is_empty() {
        for id in &layer {
            doubtful.remove(id);
        }
        if doubtful.is_empty() {
            return;
        }
        let mut next = Vec::new();
        for id in layer {
            match known.event(&id) {
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
