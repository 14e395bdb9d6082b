//! The conflicted state subgraph of state resolution v2.1.
//!
//! Spec: rooms v12, "Definitions": all events on paths of `auth_events` from one conflicted event
//! to another, ends included.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ruma::{EventId, OwnedEventId};

use crate::Pdu;

/// The events between any two of `conflicted`, and those themselves.
///
/// Events that `fetch` does not answer end their path.
pub(super) fn conflicted_subgraph(
    conflicted: impl Iterator<Item = OwnedEventId>,
    fetch: &dyn Fn(&EventId) -> Option<Arc<Pdu>>,
) -> HashSet<OwnedEventId> {
    let mut subgraph: HashSet<OwnedEventId> = conflicted.collect();
    // From the conflicted events downwards, and who led to whom.
    let mut led_by: HashMap<OwnedEventId, Vec<OwnedEventId>> = HashMap::new();
    let mut open: Vec<OwnedEventId> = subgraph.iter().cloned().collect();
    let mut seen: HashSet<OwnedEventId> = subgraph.clone();
    while let Some(id) = open.pop() {
        let Some(event) = fetch(&id) else { continue };
        for below in event.auth_events() {
            led_by.entry(below.clone()).or_default().push(id.clone());
            if seen.insert(below.clone()) {
                open.push(below.clone());
            }
        }
    }
    // From the conflicted events upwards again: whatever is met lies between two of them, since
    // everything in `led_by` was reached from one.
    let mut open: Vec<OwnedEventId> = subgraph.iter().cloned().collect();
    while let Some(id) = open.pop() {
        for above in led_by.remove(&id).unwrap_or_default() {
            if subgraph.insert(above.clone()) {
                open.push(above);
            }
        }
    }
    subgraph
}
