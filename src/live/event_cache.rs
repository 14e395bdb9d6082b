//! Events of state by number: what rooms in memory do not hold themselves.

use std::{collections::HashMap, sync::Arc};

use event::Pdu;
use moka::sync::Cache;
use parking_lot::Mutex;
use storage::{Database, Error, events, stream::StateEvent};
use types::EventNid;

/// What an entry takes beside the event.
const ENTRY: usize = 96;

/// A cache of events, of about so many bytes.
#[derive(Debug)]
pub struct EventCache {
    events: Cache<EventNid, Arc<Pdu>>,
    /// Counts redactions: what was read before one may lack it.
    redactions: Mutex<u64>,
    /// The most bytes that one read puts into the cache: a single large room does not empty it.
    max_read: usize,
}

impl EventCache {
    /// An empty cache.
    pub fn new(budget: usize) -> Self {
        let events = Cache::builder()
            .max_capacity(budget as u64)
            .weigher(|_, pdu: &Arc<Pdu>| u32::try_from(weight(pdu)).unwrap_or(u32::MAX))
            .build();
        Self {
            events,
            redactions: Mutex::new(0),
            max_read: budget / 4,
        }
    }

    /// An event, if it is in memory.
    pub fn get(&self, nid: EventNid) -> Option<Arc<Pdu>> {
        self.events.get(&nid)
    }

    /// Adds an event that is about to be committed or was committed just now.
    pub fn insert(&self, event: &StateEvent) {
        self.events.insert(event.nid, event.pdu.clone());
    }

    /// Replaces an event that was redacted by what is left of it.
    pub fn redact(&self, nid: EventNid, left: &Arc<Pdu>) {
        let mut redactions = self.redactions.lock();
        *redactions += 1;
        if self.events.contains_key(&nid) {
            self.events.insert(nid, left.clone());
        }
    }

    /// The events with these numbers: one query for all that are not in memory.
    pub(crate) async fn read(
        &self,
        database: &Database,
        nids: impl IntoIterator<Item = EventNid>,
    ) -> Result<HashMap<EventNid, Arc<Pdu>>, Error> {
        let (mut found, mut missing) = (HashMap::new(), Vec::new());
        for nid in nids {
            match self.get(nid) {
                Some(pdu) => {
                    found.insert(nid, pdu);
                }
                None => missing.push(nid),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let redactions = *self.redactions.lock();
        let mut db = database.acquire().await?;
        let read = events::state_events(&mut db, &missing).await?;
        drop(db);
        self.keep(read.values().cloned(), redactions);
        found.extend(read.into_iter().map(|(nid, event)| (nid, event.pdu)));
        Ok(found)
    }

    /// Keeps what was read, unless an event was redacted since `redactions` were counted.
    pub(crate) fn keep(&self, read: impl Iterator<Item = StateEvent>, redactions: u64) {
        let counted = self.redactions.lock();
        if *counted != redactions {
            return;
        }
        let mut left = self.max_read;
        for event in read {
            let Some(rest) = left.checked_sub(weight(&event.pdu)) else {
                break;
            };
            left = rest;
            self.insert(&event);
        }
    }

    /// How many redactions there were; taken before a read whose result is to be kept.
    pub(crate) fn redactions(&self) -> u64 {
        *self.redactions.lock()
    }
}

fn weight(pdu: &Pdu) -> usize {
    pdu.weight() + ENTRY
}

#[cfg(test)]
mod tests;
