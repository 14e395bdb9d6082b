//! The order in which received events are added.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use event::Pdu;
use ruma::EventId;

use crate::append::received::Received;

/// The events, each once and after those that it names; as they came, as far as that leaves it open.
pub(crate) fn sorted(events: Vec<Arc<Pdu>>) -> Vec<Arc<Pdu>> {
    let by_id: HashMap<&EventId, &Arc<Pdu>> =
        events.iter().map(|pdu| (&**pdu.event_id(), pdu)).collect();
    let mut sorted = Vec::with_capacity(by_id.len());
    let mut seen: HashSet<&EventId> = HashSet::new();
    for pdu in &events {
        // What is on the way to be added, with whether what it names was.
        let mut open = vec![(pdu, false)];
        while let Some((pdu, is_done)) = open.pop() {
            if is_done {
                sorted.push(pdu.clone());
                continue;
            }
            if !seen.insert(pdu.event_id()) {
                continue;
            }
            open.push((pdu, true));
            let named = pdu.prev_events().iter().chain(pdu.auth_events());
            let named = named.filter_map(|id| by_id.get(&**id));
            open.extend(named.map(|pdu| (*pdu, false)));
        }
    }
    sorted
}

/// The events of each write: a redaction comes into another one than what it redacts, whichever of
/// them is first.
pub(crate) fn writes(events: Vec<Received>, most: usize) -> Vec<Vec<Received>> {
    let is_redaction = |event: &Received| event.pdu.event_type() == "m.room.redaction";
    let mut writes: Vec<Vec<Received>> = Vec::new();
    let mut is_open = false;
    for event in events {
        let redacts = is_redaction(&event);
        match writes.last_mut() {
            Some(write) if is_open && write.len() < most && !redacts => write.push(event),
            _ => writes.push(vec![event]),
        }
        is_open = !redacts;
    }
    writes
}
