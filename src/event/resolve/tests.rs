use std::collections::BTreeSet;

use ruma::state_res::utils::event_id_set::EventIdSet;
use serde_json::json;

use super::*;
use crate::fixture::{ALICE, BOB, CAROL, Room};

mod property;

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

fn resolved(room: &Room, forks: &[State]) -> State {
    resolve(&room.version, forks, &|id| room.fetch(id)).unwrap()
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
fn one_state_or_equal_states_need_no_resolution() {
    let room = three("12");
    let nothing = |_: &EventId| None;
    assert!(resolve(&room.version, &[], &nothing).unwrap().is_empty());
    for forks in [
        vec![room.state.clone()],
        vec![room.state.clone(), room.state.clone()],
    ] {
        let state = resolve(&room.version, &forks, &nothing).unwrap();
        assert_eq!(table(&state), table(&room.state));
    }
}

#[test]
fn the_later_topic_wins() {
    for number in ["3", "6", "10", "11", "12"] {
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
fn a_ban_beats_what_the_banned_user_did_elsewhere() {
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
fn a_demotion_beats_what_the_demoted_user_did_elsewhere() {
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

#[test]
fn the_conflicted_subgraph_has_all_paths_between_conflicted_events() {
    let mut room = three("12");
    let first = promote(&mut room, ALICE, json!({}));
    let between = promote(&mut room, ALICE, json!({BOB: 50}));
    let last = promote(&mut room, BOB, json!({BOB: 50, CAROL: 50}));
    promote(&mut room, ALICE, json!({}));
    let ids = |events: &[&Arc<Pdu>]| -> BTreeSet<OwnedEventId> {
        events
            .iter()
            .map(|event| event.event_id().clone())
            .collect()
    };
    let subgraph = |ends: &[&Arc<Pdu>]| -> BTreeSet<OwnedEventId> {
        subgraph::conflicted_subgraph(ids(ends).into_iter(), &|id| room.fetch(id))
            .into_iter()
            .collect()
    };
    assert_eq!(subgraph(&[&first, &last]), ids(&[&first, &between, &last]));
    assert_eq!(subgraph(&[&first, &between]), ids(&[&first, &between]));
    assert_eq!(subgraph(&[&between]), ids(&[&between]));
    let unknown = subgraph::conflicted_subgraph(ids(&[&last]).into_iter(), &|_| None);
    assert_eq!(unknown.len(), 1);
}

#[test]
fn missing_auth_events_are_reported() {
    let mut one = three("12");
    promote(&mut one, ALICE, json!({BOB: 50}));
    let mut two = one.clone();
    promote(&mut one, ALICE, json!({BOB: 60}));
    promote(&mut one, ALICE, json!({BOB: 70}));
    two.wait(10);
    topic(&mut two, BOB, "t");
    promote(&mut two, BOB, json!({BOB: 50, CAROL: 50}));
    one.merge_events(&two);
    let forks = [one.state.clone(), two.state.clone()];
    let mut loaded: HashMap<OwnedEventId, Arc<Pdu>> = HashMap::new();
    let mut rounds = 0;
    let state = loop {
        match resolve(&one.version, &forks, &|id| loaded.get(id).cloned()) {
            Ok(state) => break state,
            Err(ResolveError::Missing(ids)) => {
                assert!(!ids.is_empty());
                loaded.extend(
                    ids.into_iter()
                        .map(|id| (id.clone(), one.fetch(&id).unwrap())),
                );
            }
            Err(error) => panic!("{error}"),
        }
        rounds += 1;
        assert!(rounds < 10, "no end");
    };
    assert!(rounds > 0);
    assert_eq!(table(&state), table(&resolved(&one, &forks)));
}

#[test]
fn the_auth_difference_is_that_of_the_definition() {
    let mut one = three("11");
    let mut two = one.clone();
    promote(&mut one, ALICE, json!({BOB: 50}));
    topic(&mut one, BOB, "one");
    two.wait(5);
    promote(&mut two, ALICE, json!({CAROL: 50}));
    topic(&mut two, CAROL, "two");
    one.merge_events(&two);
    let forks = [one.state.clone(), two.state.clone()];
    let fetch = |id: &EventId| one.fetch(id);
    let auth_difference: BTreeSet<_> = auth_difference(&forks, &fetch)
        .unwrap()
        .into_iter()
        .collect();
    let [a, b] = forks.each_ref().map(|fork| naive_chain(&one, fork));
    let expected: BTreeSet<_> = a.symmetric_difference(&b).cloned().collect();
    assert_eq!(auth_difference, expected);
    // Two power levels events, and the memberships of the two who set topics.
    assert_eq!(auth_difference.len(), 4);
    let direct =
        resolve_with(&one.version, &forks, expected.into_iter().collect(), &fetch).unwrap();
    assert_eq!(table(&direct), table(&resolved(&one, &forks)));
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
    let maps: Vec<_> = forks.iter().map(ids).collect();
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
