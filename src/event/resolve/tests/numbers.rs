//! What is worked out on numbers.

use super::{chains::conflicted_subgraph, *};

fn nids(numbers: &[i64]) -> HashSet<EventNid> {
    numbers.iter().copied().map(EventNid).collect()
}

/// A graph from rows of an event and its auth events.
fn graph(rows: &[(i64, &[i64])]) -> AuthEdges {
    let row = |(event, auth): &(i64, &[i64])| {
        (
            EventNid(*event),
            auth.iter().copied().map(EventNid).collect(),
        )
    };
    rows.iter().map(row).collect()
}

fn entries(entries: &[(i64, i64)]) -> StateEntries {
    let entry = |(key, event): &(i64, i64)| (StateKeyNid(*key), EventNid(*event));
    entries.iter().map(entry).collect()
}

#[test]
fn equal_states_have_no_conflict() {
    let state = entries(&[(1, 10), (2, 20)]);
    assert!(Conflict::between(&[]).is_empty());
    assert!(Conflict::between(std::slice::from_ref(&state)).is_empty());
    assert!(Conflict::between(&[state.clone(), state.clone(), state]).is_empty());
}

#[test]
fn a_conflict_names_what_each_state_has() {
    let states = [
        entries(&[(1, 10), (2, 20), (3, 30)]),
        entries(&[(1, 10), (2, 21), (4, 40)]),
        entries(&[(1, 10), (2, 20), (3, 30), (4, 40)]),
    ];
    let conflict = Conflict::between(&states);
    let some = |event| Some(EventNid(event));
    let keys: Vec<_> = conflict.keys().collect();
    assert_eq!(
        keys,
        [
            (StateKeyNid(2), &[some(20), some(21), some(20)][..]),
            (StateKeyNid(3), &[some(30), None, some(30)]),
            (StateKeyNid(4), &[None, some(40), some(40)]),
        ]
    );
    assert_eq!(
        conflict.events().collect::<HashSet<_>>(),
        nids(&[20, 21, 30, 40])
    );
}

/// 1 ← 2 ← 3 ← 4 ← 5, with 6 beside 3.
fn chain() -> AuthEdges {
    graph(&[
        (1, &[]),
        (2, &[1]),
        (3, &[2, 1]),
        (4, &[3, 1]),
        (5, &[4]),
        (6, &[2]),
    ])
}

#[test]
fn the_conflicted_subgraph_has_all_paths_between_conflicted_events() {
    for (ends, expected) in [
        (&[2, 4][..], &[2, 3, 4][..]),
        (&[3, 4], &[3, 4]),
        (&[5], &[5]),
        (&[6, 4], &[6, 4]),
        (&[1, 6, 5], &[1, 2, 3, 4, 5, 6]),
        (&[99], &[99]),
    ] {
        assert_eq!(conflicted_subgraph(nids(ends), &chain()), nids(expected));
    }
}

#[test]
fn the_subgraph_takes_part_in_version_2_1_only() {
    let states = [entries(&[(1, 2)]), entries(&[(1, 5)])];
    let conflict = Conflict::between(&states);
    let common = [EventNid(4)];
    for (number, expected) in [
        ("1", &[2, 5][..]),
        // All between is in the chain of what both have in common.
        ("2", &[2, 5]),
        ("11", &[2, 5]),
        ("12", &[2, 3, 4, 5]),
    ] {
        let version = crate::fixture::version(number);
        let set = full_conflicted_set(&version, &conflict, &common, &chain()).unwrap();
        assert_eq!(set, nids(expected), "version {number}");
    }
    let version = crate::fixture::version("11");
    let set = full_conflicted_set(&version, &conflict, &[], &chain()).unwrap();
    assert_eq!(set, nids(&[2, 3, 4, 5]));
}

#[test]
fn edges_and_events_that_are_missing_are_named() {
    let states = [entries(&[(1, 2)]), entries(&[(1, 5)])];
    let conflict = Conflict::between(&states);
    let version = crate::fixture::version("11");
    let mut edges = chain();
    edges.remove(&EventNid(3));
    let missing = |result: Result<HashSet<EventNid>, ResolveError>| match result {
        Err(ResolveError::Missing(events)) => events,
        other => panic!("{other:?}"),
    };
    let set = full_conflicted_set(&version, &conflict, &[], &edges);
    assert_eq!(missing(set), [EventNid(3)]);
    assert_eq!(missing(auth_chains([EventNid(4)], &edges)), [EventNid(3)]);
    assert!(auth_chains([EventNid(2)], &edges).is_ok());
    let input = Input {
        conflict: &conflict,
        full_conflicted_set: &nids(&[2, 5]),
        events: &HashMap::new(),
        state: &State::new(),
    };
    assert!(matches!(
        resolve(&version, input),
        Err(ResolveError::Missing(events)) if !events.is_empty()
    ));
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
    let numbers = Numbers::of(&one);
    let difference = chains::auth_difference(
        &numbers.conflict(&forks),
        &numbers.common(&forks),
        &numbers.edges,
    );
    let [a, b] = forks.each_ref().map(|fork| naive_chain(&one, fork));
    let expected: HashSet<_> = a
        .symmetric_difference(&b)
        .map(|id| numbers.nids[id])
        .collect();
    assert_eq!(difference.unwrap(), expected);
    // Two power levels events, and the memberships of the two who set topics.
    assert_eq!(expected.len(), 4);
}
