//! State resolution of room versions since 2, by ruma.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use ruma::{
    EventId, OwnedEventId,
    events::StateEventType,
    room_version_rules::StateResolutionV2Rules,
    state_res::{self, StateMap, utils::event_id_set::EventIdSet},
};
use types::{EventNid, StateKeyNid};

use super::{ResolveError, Resolver, map_key};
use crate::{Pdu, RoomVersion, auth, state::type_text};

pub(super) fn resolve(
    version: &RoomVersion,
    rules: StateResolutionV2Rules,
    resolver: &Resolver<'_>,
) -> Result<BTreeMap<StateKeyNid, Option<EventNid>>, ResolveError> {
    let common = common_events(version, resolver);
    let states = state_maps(&common, resolver);
    let common: HashMap<&EventId, &Arc<Pdu>> = common
        .iter()
        .map(|event| (&**event.event_id(), event))
        .collect();
    let find = |id: &EventId| {
        let nid = resolver.nids.get(id);
        let event = nid.and_then(|nid| resolver.event(*nid));
        event.or_else(|| common.get(id).copied()).cloned()
    };
    // An event that is in one chain of two is in the difference.
    let set = resolver.input.full_conflicted_set.iter();
    let set = set.filter_map(|nid| resolver.event(*nid));
    let set: EventIdSet<OwnedEventId> = set.map(|event| event.event_id().clone()).collect();
    let chains = vec![set, EventIdSet::new()];
    let resolved = state_res::resolve(
        version.authorization(),
        &rules,
        &states,
        chains,
        find,
        // It is in the full conflicted set already.
        |_| Some(EventIdSet::new()),
    )
    .map_err(ResolveError::Graph)?;
    let event = |(event_type, key): &(String, String)| {
        let id = resolved.get(&(event_type.as_str().into(), key.clone()))?;
        resolver.nids.get(&**id).copied()
    };
    let keys = resolver.keys.iter();
    Ok(keys.map(|(text, key)| (*key, event(text))).collect())
}

/// Of the keys in which the states do not differ, the events that the authorisation rules ask for.
fn common_events(version: &RoomVersion, resolver: &Resolver<'_>) -> Vec<Arc<Pdu>> {
    let mut wanted: HashSet<(StateEventType, String)> = HashSet::new();
    for nid in resolver.input.full_conflicted_set {
        let types = resolver.event(*nid).and_then(|event| types(version, event));
        wanted.extend(types.into_iter().flatten());
    }
    let wanted = wanted.into_iter();
    wanted
        .filter_map(|(event_type, key)| resolver.unconflicted(&type_text(&event_type), &key))
        .collect()
}

/// The states as ruma takes them.
fn state_maps(common: &[Arc<Pdu>], resolver: &Resolver<'_>) -> Vec<StateMap<OwnedEventId>> {
    let entry = |event: &Arc<Pdu>| {
        let (event_type, key) = map_key(event);
        ((event_type.into(), key), event.event_id().clone())
    };
    let common: StateMap<OwnedEventId> = common.iter().map(entry).collect();
    let conflict = resolver.input.conflict;
    (0..conflict.states())
        .map(|state| {
            let events = conflict.events_of(state);
            let events = events.filter_map(|nid| resolver.event(nid));
            let mut map = common.clone();
            map.extend(events.map(entry));
            map
        })
        .collect()
}

/// The state that an event's authorisation depends on; `None` if it is malformed.
fn types(version: &RoomVersion, event: &Arc<Pdu>) -> Option<Vec<(StateEventType, String)>> {
    let mut types = auth::auth_types(
        version,
        event.timeline_event_type(),
        event.sender(),
        event.state_key(),
        event.content(),
    )
    .ok()?;
    types.push((StateEventType::RoomCreate, String::new()));
    Some(types)
}
