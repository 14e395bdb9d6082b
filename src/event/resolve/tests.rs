use ruma::{OwnedEventId, state_res::StateMap, state_res::utils::event_id_set::EventIdSet};
use serde_json::json;

use super::*;
use crate::fixture::{ALICE, BOB, CAROL, Room};

mod numbers;
mod property;
mod v1;

/// What a state holds, for comparison.
fn table(state: &State) -> Vec<(String, String, String)> {
    state
        .iter()
        .map(|event| {
            let (event_type, key) = map_key(event);
            (event_type, key, event.event_id().to_string())
        })
        .collect()
}

/// A room's graph as numbers.
#[derive(Default)]
struct Numbers {
    events: HashMap<EventNid, Arc<Pdu>>,
    nids: HashMap<OwnedEventId, EventNid>,
    keys: HashMap<StateMapKey, StateKeyNid>,
    edges: AuthEdges,
}

impl Numbers {
    fn of(room: &Room) -> Self {
        let mut numbers = Self::default();
        for (n, event) in (1..).zip(room.events.values()) {
            numbers.events.insert(EventNid(n), event.clone());
            numbers.nids.insert(event.event_id().clone(), EventNid(n));
            if event.is_state() {
                numbers.keys.entry(map_key(event)).or_insert(StateKeyNid(n));
            }
        }
        for (nid, event) in &numbers.events {
            let auth_events = event.auth_events().iter().map(|id| numbers.nids[id]);
            numbers.edges.insert(*nid, auth_events.collect());
        }
        numbers
    }

    fn entries(&self, state: &State) -> StateEntries {
        let entry = |event: &Arc<Pdu>| (self.keys[&map_key(event)], self.nids[event.event_id()]);
        state.iter().map(entry).collect()
    }

    fn conflict(&self, forks: &[State]) -> Conflict {
        let entries: Vec<_> = forks.iter().map(|fork| self.entries(fork)).collect();
        Conflict::between(&entries)
    }

    /// The auth events of what the forks have in common.
    fn common(&self, forks: &[State]) -> Vec<EventNid> {
        let (first, others) = forks.split_first().unwrap();
        let is_common = |event: &&Arc<Pdu>| {
            let (event_type, key) = map_key(event);
            let mut others = others.iter().map(|fork| fork.get(&event_type, &key));
            others.all(|other| other.is_some_and(|other| other.event_id() == event.event_id()))
        };
        let common = first.iter().filter(is_common);
        let auth_events = common.flat_map(|event| event.auth_events());
        auth_events.map(|id| self.nids[id]).collect()
    }
}

/// The forks resolved as `room` does it, with nothing passed that is not asked for.
fn resolved(room: &Room, forks: &[State]) -> State {
    let numbers = Numbers::of(room);
    let conflict = numbers.conflict(forks);
    let common = numbers.common(forks);
    let set = full_conflicted_set(&room.version, &conflict, &common, &numbers.edges).unwrap();
    let wanted = auth_chains(set.iter().copied(), &numbers.edges).unwrap();
    let mut events = numbers.events.clone();
    events.retain(|nid, _| wanted.contains(nid));
    let input = Input {
        conflict: &conflict,
        full_conflicted_set: &set,
        events: &events,
        state: &forks[0],
    };
    let changes = resolve(&room.version, input).unwrap();
    let mut state = forks[0].clone();
    assert_eq!(changes.len(), conflict.keys().count());
    for (key, event) in changes {
        let (text, _) = numbers.keys.iter().find(|(_, nid)| **nid == key).unwrap();
        match event {
            Some(event) => drop(state.insert(events[&event].clone())),
            None => drop(state.remove(&text.0, &text.1)),
        }
    }
    state
}

/// A room that Bob and Carol have joined.
fn three(number: &str) -> Room {
    let mut room = Room::new(number);
    room.join(BOB).unwrap();
    room.join(CAROL).unwrap();
    room
}

fn topic(room: &mut Room, sender: &str, topic: &str) -> OwnedEventId {
    room.set(sender, "m.room.topic", "", json!({"topic": topic}))
        .unwrap()
        .event_id()
        .clone()
}

/// Lets Bob set state.
fn promote(room: &mut Room, sender: &str, users: serde_json::Value) -> Arc<Pdu> {
    let mut users = users;
    if !room.version.privileges_creators() {
        users[ALICE] = json!(100);
    }
    room.set(sender, "m.room.power_levels", "", json!({"users": users}))
        .unwrap()
}

#[test]
fn the_later_topic_wins() {
    for number in ["1", "2", "3", "6", "10", "11", "12"] {
        let mut one = three(number);
        let mut two = one.clone();
        topic(&mut one, ALICE, "first");
        two.wait(100);
        let later = topic(&mut two, ALICE, "second");
        one.merge_events(&two);
        let state = resolved(&one, &[one.state.clone(), two.state.clone()]);
        assert_eq!(state.get("m.room.topic", "").unwrap().event_id(), &later);
    }
}

#[test]
fn a_ban_wins_over_state_of_the_banned_user_in_another_fork() {
    for number in ["3", "6", "10", "11", "12"] {
        let mut one = three(number);
        promote(&mut one, ALICE, json!({BOB: 50}));
        let before = topic(&mut one, ALICE, "before");
        let mut two = one.clone();
        one.member(ALICE, BOB, "ban").unwrap();
        two.wait(100);
        topic(&mut two, BOB, "mischief");
        one.merge_events(&two);
        let state = resolved(&one, &[two.state.clone(), one.state.clone()]);
        // The older topic is not restored: it lost its place when both were in conflict.
        let topic = state.get("m.room.topic", "").unwrap().event_id().clone();
        assert_eq!(topic, before);
        assert_eq!(
            state.membership(crate::fixture::user(BOB)),
            ruma::events::room::member::MembershipState::Ban
        );
    }
}

#[test]
fn a_demotion_wins_over_state_of_the_demoted_user_in_another_fork() {
    for number in ["6", "11", "12"] {
        let mut one = three(number);
        promote(&mut one, ALICE, json!({BOB: 50}));
        let mut two = one.clone();
        let demotion = promote(&mut one, ALICE, json!({}));
        two.wait(100);
        topic(&mut two, BOB, "mischief");
        one.merge_events(&two);
        let state = resolved(&one, &[two.state.clone(), one.state.clone()]);
        assert!(state.get("m.room.topic", "").is_none());
        assert_eq!(
            state.get("m.room.power_levels", "").unwrap().event_id(),
            demotion.event_id()
        );
    }
}

#[test]
fn state_in_only_one_fork_is_kept() {
    let mut one = three("12");
    let mut two = one.clone();
    let name = one
        .set(ALICE, "m.room.name", "", json!({"name": "n"}))
        .unwrap();
    let topic = topic(&mut two, ALICE, "t");
    one.merge_events(&two);
    let state = resolved(&one, &[one.state.clone(), two.state.clone()]);
    assert_eq!(
        state.get("m.room.name", "").unwrap().event_id(),
        name.event_id()
    );
    assert_eq!(state.get("m.room.topic", "").unwrap().event_id(), &topic);
    assert_eq!(state.len(), one.state.len() + 1);
}

/// MSC4297, problem A: one fork comes with an outdated join rule although its user has since left.
#[test]
fn outdated_join_rules_do_not_vanish_in_v2_1() {
    for (number, survives) in [("11", false), ("12", true)] {
        let mut room = three(number);
        promote(&mut room, ALICE, json!({BOB: 100}));
        let old = room.state.get("m.room.join_rules", "").unwrap().clone();
        let rule = json!({"join_rule": "invite"});
        let new = room.set(ALICE, "m.room.join_rules", "", rule).unwrap();
        room.member(ALICE, ALICE, "leave").unwrap();
        let mut outdated = room.state.clone();
        outdated.insert(old);
        let state = resolved(&room, &[room.state.clone(), outdated]);
        let rules = state
            .get("m.room.join_rules", "")
            .map(|event| event.event_id());
        assert_eq!(
            rules,
            survives.then_some(new.event_id()),
            "version {number}"
        );
    }
}

/// MSC4297, problem B: one fork comes with outdated power levels although both have seen, in
/// their auth chains, the promotion in between.
#[test]
fn a_promotion_between_conflicting_power_levels_is_replayed_in_v2_1() {
    for (number, survives) in [("11", false), ("12", true)] {
        let mut room = three(number);
        let first = promote(&mut room, ALICE, json!({}));
        promote(&mut room, ALICE, json!({BOB: 50}));
        let last = promote(&mut room, BOB, json!({BOB: 50, CAROL: 50}));
        room.join("@dora:example.org").unwrap();
        let mut outdated = room.state.clone();
        outdated.insert(first.clone());
        let state = resolved(&room, &[room.state.clone(), outdated]);
        let expected = if survives { &last } else { &first };
        assert_eq!(
            state.get("m.room.power_levels", "").unwrap().event_id(),
            expected.event_id(),
            "version {number}"
        );
    }
}

/// The auth chain of a state by its definition, with everything walked.
fn naive_chain(room: &Room, state: &State) -> BTreeSet<OwnedEventId> {
    let mut chain = BTreeSet::new();
    let mut open: Vec<_> = state
        .iter()
        .flat_map(|event| event.auth_events().to_vec())
        .collect();
    while let Some(id) = open.pop() {
        if chain.insert(id.clone()) {
            open.extend(room.fetch(&id).unwrap().auth_events().iter().cloned());
        }
    }
    chain
}

/// Resolution with whole chains and a subgraph found by trying every pair.
fn naive(room: &Room, forks: &[State]) -> Vec<(String, String, String)> {
    let maps: Vec<StateMap<OwnedEventId>> = forks
        .iter()
        .map(|fork| {
            let entry = |event: &Arc<Pdu>| {
                let (event_type, key) = map_key(event);
                ((event_type.into(), key), event.event_id().clone())
            };
            fork.iter().map(entry).collect()
        })
        .collect();
    let chains = forks
        .iter()
        .map(|fork| naive_chain(room, fork).into_iter().collect())
        .collect();
    let reaches = |from: &OwnedEventId| -> BTreeSet<OwnedEventId> {
        let state: State = [room.fetch(from).unwrap()].into_iter().collect();
        naive_chain(room, &state)
    };
    let resolved = state_res::resolve(
        room.version.authorization(),
        room.version.resolution().v2_rules().unwrap(),
        &maps,
        chains,
        |id| room.fetch(id),
        |conflicted| {
            let ends: BTreeSet<_> = conflicted.values().flatten().cloned().collect();
            let above: BTreeSet<_> = ends.iter().flat_map(&reaches).collect();
            let between = above
                .into_iter()
                .filter(|id| !reaches(id).is_disjoint(&ends));
            let set: EventIdSet<_> = between.chain(ends.iter().cloned()).collect();
            Some(set)
        },
    )
    .unwrap();
    let mut rows: Vec<_> = resolved
        .into_iter()
        .map(|((event_type, key), id)| (event_type.to_string(), key, id.to_string()))
        .collect();
    rows.sort();
    rows
}
