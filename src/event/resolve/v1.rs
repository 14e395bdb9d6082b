//! State resolution of room version 1.
//!
//! Spec: rooms v1, "State resolution".

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use ruma::events::StateEventType;
use sha1::{Digest, Sha1};
use types::{EventNid, StateKeyNid};

use super::{Resolver, StateMapKey, map_key};
use crate::{Pdu, RoomVersion, auth, state::type_text};

/// The resolution so far: what was resolved, above the unconflicted state.
struct Resolved<'a> {
    version: &'a RoomVersion,
    unconflicted: &'a dyn Fn(&str, &str) -> Option<Arc<Pdu>>,
    events: BTreeMap<StateMapKey, Arc<Pdu>>,
}

pub(super) fn resolve_conflict(
    version: &RoomVersion,
    resolver: &Resolver<'_>,
) -> BTreeMap<StateKeyNid, Option<EventNid>> {
    let conflicts = resolver.input.conflict.keys().map(|(_, events)| {
        let events = events.iter().flatten();
        let events = events.filter_map(|nid| resolver.event(*nid));
        events.cloned().collect()
    });
    let unconflicted = |event_type: &str, key: &str| resolver.unconflicted(event_type, key);
    let events = resolve(version, conflicts.collect(), &unconflicted);
    let entry = |event: &Arc<Pdu>| {
        let key = resolver.keys.get(&map_key(event))?;
        Some((*key, resolver.nids.get(&**event.event_id()).copied()))
    };
    events.iter().filter_map(entry).collect()
}

/// Resolves the keys in which states differ: `conflicts` holds the events of each such key, and
/// `unconflicted` answers the events of all others. Returns one event for each key.
///
/// A key that only some states have, and those with the same event, is no conflict in this version.
fn resolve(
    version: &RoomVersion,
    conflicts: Vec<Vec<Arc<Pdu>>>,
    unconflicted: &dyn Fn(&str, &str) -> Option<Arc<Pdu>>,
) -> Vec<Arc<Pdu>> {
    let mut resolved = Resolved {
        version,
        unconflicted,
        events: BTreeMap::new(),
    };
    let mut others = Vec::new();
    for mut events in conflicts {
        events.sort_by(|a, b| a.event_id().cmp(b.event_id()));
        events.dedup_by(|a, b| a.event_id() == b.event_id());
        match events.as_slice() {
            [event] => resolved.insert(event.clone()),
            _ => others.push(events),
        }
    }
    for event_type in ["m.room.power_levels", "m.room.join_rules", "m.room.member"] {
        let is_of_type = |events: &Vec<Arc<Pdu>>| {
            let mut events = events.iter();
            events.any(|event| event.event_type() == event_type)
        };
        let (of_type, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(is_of_type);
        others = rest;
        // Two keys of a type do not see each other's resolution.
        let found: Vec<_> = of_type
            .into_iter()
            .filter_map(|events| resolved.last_in_unbroken_order(events))
            .collect();
        resolved.extend(found);
    }
    let found: Vec<_> = others
        .into_iter()
        .filter_map(|events| resolved.first_allowed(events))
        .collect();
    resolved.extend(found);
    resolved.events.into_values().collect()
}

impl Resolved<'_> {
    fn insert(&mut self, event: Arc<Pdu>) {
        self.events.insert(map_key(&event), event);
    }

    fn extend(&mut self, events: Vec<Arc<Pdu>>) {
        let events = events.into_iter();
        self.events
            .extend(events.map(|event| (map_key(&event), event)));
    }

    /// Of events that the rules depend on: the last, in ascending order, up to which each is
    /// allowed by those before it.
    fn last_in_unbroken_order(&self, mut events: Vec<Arc<Pdu>>) -> Option<Arc<Pdu>> {
        events.sort_by_cached_key(|event| (event.depth(), Reverse(hash(event))));
        let mut events = events.into_iter();
        let mut last = events.next()?;
        for event in events {
            if !self.allows(&event, Some(&last)) {
                break;
            }
            last = event;
        }
        Some(last)
    }

    /// Of other events: the first, in descending order, that is allowed. If none is, the last.
    fn first_allowed(&self, mut events: Vec<Arc<Pdu>>) -> Option<Arc<Pdu>> {
        events.sort_by_cached_key(|event| (Reverse(event.depth()), hash(event)));
        let allowed = events.iter().find(|event| self.allows(event, None));
        allowed.or_else(|| events.last()).cloned()
    }

    /// Whether the rules allow an event in the state resolved so far, with `extra` in it.
    fn allows(&self, event: &Pdu, extra: Option<&Arc<Pdu>>) -> bool {
        let state = |event_type: &StateEventType, state_key: &str| {
            let event_type = type_text(event_type);
            extra
                .filter(|extra| {
                    extra.event_type() == event_type && extra.state_key() == Some(state_key)
                })
                .or_else(|| {
                    let key = (event_type.clone().into_owned(), state_key.to_owned());
                    self.events.get(&key)
                })
                .cloned()
                .or_else(|| (self.unconflicted)(&event_type, state_key))
        };
        auth::check_state_dependent(self.version, event, &state).is_ok()
    }
}

/// What breaks ties: its order is that of the hexadecimal text.
fn hash(event: &Pdu) -> [u8; 20] {
    Sha1::digest(event.event_id().as_str()).into()
}
