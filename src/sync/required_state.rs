//! Which state events a client of sliding sync asks for, by type and state key.
//!
//! Spec: MSC4186, "`RequiredStateRequest`".

use std::collections::{BTreeMap, BTreeSet};

use event::Pdu;
use live::{RoomState, is_core_type};
use serde::{Deserialize, Serialize};
use types::EventNid;

const MEMBER: &str = "m.room.member";

/// Stands for all types, or all state keys.
pub(crate) const ANY: &str = "*";

/// A set of types and state keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequiredState {
    /// State keys by type; either may be [`ANY`].
    included: BTreeMap<String, BTreeSet<String>>,
    /// What is left out of it, in the same form.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    excluded: BTreeMap<String, BTreeSet<String>>,
    /// Whether the members that the timeline mentions are added. Then [`ANY`] type means no members.
    lazy_members: bool,
}

/// The state of a room that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Required<'a> {
    /// What is returned when it changes, and all of it to a client that has no data of the room.
    pub(crate) selected: &'a RequiredState,
    /// What is returned whether it changed or not.
    pub(crate) added: Option<&'a RequiredState>,
    /// What the client has been sent, and is still told of.
    pub(crate) sent: Option<&'a RequiredState>,
}

fn contains(set: &BTreeMap<String, BTreeSet<String>>, event_type: &str, state_key: &str) -> bool {
    let keys = set.get(event_type);
    keys.is_some_and(|keys| keys.contains(state_key) || keys.contains(ANY))
}

impl RequiredState {
    /// Adds a type and state key; either may be `*`.
    pub fn include(&mut self, event_type: &str, state_key: &str) {
        let keys = self.included.entry(event_type.to_owned()).or_default();
        keys.insert(state_key.to_owned());
    }

    /// Leaves out a type and state key; either may be `*`.
    pub fn exclude(&mut self, event_type: &str, state_key: &str) {
        let keys = self.excluded.entry(event_type.to_owned()).or_default();
        keys.insert(state_key.to_owned());
    }

    /// Adds the members that the timeline mentions; a type of `*` means no members then.
    pub fn set_lazy_members(&mut self) {
        self.lazy_members = true;
    }

    /// Whether the members that the timeline mentions are asked for, but not all of them.
    pub(crate) fn has_lazy_members(&self) -> bool {
        self.lazy_members && !contains(&self.included, MEMBER, ANY)
    }

    /// How many types and state keys it names.
    pub(crate) fn len(&self) -> usize {
        let sets = [&self.included, &self.excluded];
        let keys = sets.into_iter().flat_map(BTreeMap::values);
        keys.map(BTreeSet::len).sum()
    }

    /// Whether a state event is in the set.
    pub(crate) fn selects(&self, event_type: &str, state_key: &str) -> bool {
        let is_excluded = contains(&self.excluded, event_type, state_key)
            || contains(&self.excluded, ANY, state_key);
        if is_excluded {
            return false;
        }
        if contains(&self.included, event_type, state_key) {
            return true;
        }
        let Some(keys) = self.included.get(ANY) else {
            return false;
        };
        let is_lazy = self.lazy_members && event_type == MEMBER;
        keys.contains(state_key) || (keys.contains(ANY) && !is_lazy)
    }

    /// The same for an event.
    pub(crate) fn selects_event(&self, pdu: &Pdu) -> bool {
        let state_key = pdu.state_key();
        state_key.is_some_and(|state_key| self.selects(pdu.event_type(), state_key))
    }

    /// The union with another set; it may contain more than both where either leaves something out.
    #[must_use]
    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        for (event_type, keys) in &other.included {
            let known = union.included.entry(event_type.clone()).or_default();
            known.extend(keys.iter().cloned());
        }
        // What only one of them leaves out is in the other one, or in neither.
        union.excluded.retain(|event_type, keys| {
            let others = other.excluded.get(event_type);
            keys.retain(|key| others.is_some_and(|others| others.contains(key)));
            !keys.is_empty()
        });
        union.lazy_members |= other.lazy_members;
        // All members are more than some of them.
        let has_all = |set: &Self| {
            set.included.get(ANY).is_some_and(|keys| keys.contains(ANY)) && !set.lazy_members
        };
        if union.lazy_members && (has_all(self) || has_all(other)) {
            union.include(MEMBER, ANY);
        }
        union
    }

    /// What is in this set, but not in the other one; none if there is nothing.
    pub(crate) fn without(&self, other: &Self) -> Option<Self> {
        let mut rest = Self {
            excluded: self.excluded.clone(),
            lazy_members: self.lazy_members,
            ..Self::default()
        };
        // All types and keys are fewer where members are loaded lazily.
        let has_more_members = !self.lazy_members && other.has_lazy_members();
        for (event_type, keys) in &self.included {
            let is_left = |key: &&String| {
                let is_more = has_more_members && event_type == ANY && *key == ANY;
                is_more || !other.covers(self, (event_type, key))
            };
            for key in keys.iter().filter(is_left) {
                rest.include(event_type, key);
            }
        }
        // Members that the timeline mentions are sent with it.
        (!rest.included.is_empty()).then_some(rest)
    }

    /// Whether an entry of another set, wildcards included, is in this one as a whole, but for what the
    /// other set leaves out itself.
    fn covers(&self, other: &Self, (event_type, key): (&str, &str)) -> bool {
        let is_cut = self.excluded.iter().any(|(name, keys)| {
            let is_of_type = event_type == ANY || name == event_type || name == ANY;
            let left_out = other.excluded.get(name);
            let mut keys = keys.iter().filter(|excluded| {
                let is_of_key = key == ANY || *excluded == key || *excluded == ANY;
                is_of_key && left_out.is_none_or(|left_out| !left_out.contains(*excluded))
            });
            is_of_type && keys.next().is_some()
        });
        if is_cut {
            return false;
        }
        contains(&self.included, event_type, key)
            || self.included.get(ANY).is_some_and(|keys| {
                let is_lazy = self.lazy_members && event_type == MEMBER;
                (key != ANY && keys.contains(key)) || (keys.contains(ANY) && !is_lazy)
            })
    }

    /// The numbers of the events of a state that are in the set, without those that are in memory with
    /// every room. Only wildcards visit the whole state.
    pub(crate) fn event_nids(&self, state: &RoomState) -> Vec<EventNid> {
        let mut nids = Vec::new();
        for (event_type, keys) in &self.included {
            if is_core_type(event_type) {
                continue;
            }
            if event_type == ANY {
                let others = state.others();
                let others = others.filter(|(key, _)| self.selects(key.event_type, key.key));
                nids.extend(others.map(|(_, nid)| nid));
                let members = state.members().iter();
                let members = members.filter(|(user_id, _)| self.selects(MEMBER, user_id));
                nids.extend(members.map(|(_, member)| member.event_nid));
            } else if !keys.contains(ANY) {
                let keys = keys.iter();
                nids.extend(keys.filter_map(|key| state.event_nid(event_type, key)));
            } else if event_type == MEMBER {
                let members = state.members().iter();
                nids.extend(members.map(|(_, member)| member.event_nid));
            } else {
                nids.extend(state.of_type(event_type).map(|(_, nid)| nid));
            }
        }
        nids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(entries: &[(&str, &str)], lazy_members: bool) -> RequiredState {
        let mut set = RequiredState::default();
        for (event_type, key) in entries {
            set.include(event_type, key);
        }
        set.lazy_members = lazy_members;
        set
    }

    #[test]
    fn wildcards_stand_for_types_and_keys() {
        let all = set(&[("*", "*")], false);
        assert!(all.selects("m.room.name", "") && all.selects(MEMBER, "@a:b"));
        let lazy = set(&[("*", "*")], true);
        assert!(lazy.selects("m.room.name", "") && !lazy.selects(MEMBER, "@a:b"));
        let own = set(&[("*", "*"), (MEMBER, "@a:b")], true);
        assert!(own.selects(MEMBER, "@a:b") && !own.selects(MEMBER, "@c:b"));
        let key = set(&[("*", "@a:b")], false);
        assert!(key.selects("org.x", "@a:b") && !key.selects("org.x", ""));
        let mut but = set(&[("*", "*")], false);
        but.exclude("m.room.create", "");
        assert!(!but.selects("m.room.create", "") && but.selects("m.room.create", "x"));
    }

    #[test]
    fn only_what_is_not_covered_is_left() {
        let sent = set(&[("m.room.name", ""), ("m.space.child", "*")], false);
        assert_eq!(sent.without(&sent), None);
        let more = set(&[("m.space.child", "!a:b"), ("m.room.topic", "")], false);
        assert_eq!(
            more.without(&sent),
            Some(set(&[("m.room.topic", "")], false))
        );
        let all = set(&[("*", "*")], false);
        assert_eq!(sent.without(&all), None);
        assert_eq!(all.without(&sent), Some(all.clone()));
        // Lazily loaded members are not all members.
        let lazy = set(&[("*", "*")], true);
        let members = set(&[(MEMBER, "*")], false);
        assert_eq!(members.without(&lazy), Some(members.clone()));
        assert_eq!(all.without(&lazy), Some(all.clone()));
        assert_eq!(lazy.without(&all), None);
        let mut but = all.clone();
        but.exclude("m.room.topic", "");
        assert!(more.without(&but).is_some());
        assert_eq!(but.without(&but), None);
        assert_eq!(but.without(&all), None);
        assert!(all.without(&but).is_some());
    }

    #[test]
    fn a_union_is_at_least_both() {
        let lazy = set(&[("*", "*")], true);
        let all = set(&[("*", "*")], false);
        let union = lazy.union(&all);
        assert!(union.selects(MEMBER, "@a:b") && !union.has_lazy_members());
        let mut but = all.clone();
        but.exclude("m.room.topic", "");
        assert!(
            but.union(&set(&[("m.room.topic", "")], false))
                .selects("m.room.topic", "")
        );
    }
}
