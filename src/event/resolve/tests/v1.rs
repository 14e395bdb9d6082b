//! Version 1 by hand: what the specification's list of passes says, case by case.

use sha1::{Digest, Sha1};

use super::*;
use crate::fixture::user;

fn id(state: &State, event_type: &str) -> OwnedEventId {
    state.get(event_type, "").unwrap().event_id().clone()
}

/// Both orders of two branches resolve alike; returns the result.
fn merged(one: &Room, two: &Room) -> State {
    let mut all = one.clone();
    all.merge_events(two);
    let there = resolved(&all, &[one.state.clone(), two.state.clone()]);
    let back = resolved(&all, &[two.state.clone(), one.state.clone()]);
    assert_eq!(table(&there), table(&back));
    there
}

#[test]
fn what_only_one_state_has_is_no_conflict() {
    let mut one = three("1");
    let two = one.clone();
    // A topic that nobody may have set any more stays, since it is not looked at.
    promote(&mut one, ALICE, json!({BOB: 50}));
    topic(&mut one, BOB, "t");
    one.member(ALICE, BOB, "ban").unwrap();
    let state = merged(&one, &two);
    assert_eq!(id(&state, "m.room.topic"), id(&one.state, "m.room.topic"));
}

#[test]
fn the_longest_unbroken_row_of_power_levels_wins() {
    let mut one = three("1");
    let mut two = one.clone();
    promote(&mut one, ALICE, json!({BOB: 50}));
    one.message(ALICE).unwrap();
    let last = promote(&mut one, ALICE, json!({BOB: 50, CAROL: 50}));
    // Deeper than that of the other branch, and allowed by it.
    promote(&mut two, ALICE, json!({CAROL: 10}));
    let state = merged(&one, &two);
    assert_eq!(&id(&state, "m.room.power_levels"), last.event_id());
}

#[test]
fn power_levels_stop_at_the_first_that_is_not_allowed() {
    let mut one = three("1");
    promote(&mut one, ALICE, json!({BOB: 50}));
    let mut two = one.clone();
    let demotion = promote(&mut one, ALICE, json!({}));
    two.message(ALICE).unwrap();
    let deeper = promote(&mut two, BOB, json!({BOB: 50, CAROL: 50}));
    assert!(deeper.depth() > demotion.depth());
    let state = merged(&one, &two);
    assert_eq!(&id(&state, "m.room.power_levels"), demotion.event_id());
}

#[test]
fn join_rules_and_members_are_resolved_after_power_levels() {
    let mut one = three("1");
    promote(&mut one, ALICE, json!({BOB: 50}));
    let mut two = one.clone();
    promote(&mut one, ALICE, json!({}));
    let rule = json!({"join_rule": "invite"});
    let first = one
        .set(ALICE, "m.room.join_rules", "", rule.clone())
        .unwrap();
    two.message(ALICE).unwrap();
    two.message(ALICE).unwrap();
    // Deeper, but Bob has no power once the power levels are resolved.
    two.set(BOB, "m.room.join_rules", "", rule).unwrap();
    one.member(ALICE, CAROL, "leave").unwrap();
    two.member(BOB, CAROL, "ban").unwrap();
    promote(&mut two, ALICE, json!({}));
    let state = merged(&one, &two);
    assert_eq!(&id(&state, "m.room.join_rules"), first.event_id());
    let carol = state.membership(user(CAROL));
    assert_eq!(carol, ruma::events::room::member::MembershipState::Leave);
}

#[test]
fn of_other_events_the_deepest_that_is_allowed_wins() {
    let mut one = three("1");
    promote(&mut one, ALICE, json!({BOB: 50}));
    let mut two = one.clone();
    let shallow = topic(&mut one, ALICE, "shallow");
    two.message(ALICE).unwrap();
    let deep = topic(&mut two, BOB, "deep");
    assert_eq!(id(&merged(&one, &two), "m.room.topic"), deep);
    // The same, but the sender of the deeper one was banned in the other branch.
    one.member(ALICE, BOB, "ban").unwrap();
    assert_eq!(id(&merged(&one, &two), "m.room.topic"), shallow);
}

#[test]
fn of_other_events_the_least_deep_stays_if_none_is_allowed() {
    let mut one = three("1");
    promote(&mut one, ALICE, json!({BOB: 50}));
    let mut two = one.clone();
    let shallow = topic(&mut one, BOB, "shallow");
    two.message(ALICE).unwrap();
    topic(&mut two, BOB, "deep");
    one.member(ALICE, BOB, "ban").unwrap();
    assert_eq!(id(&merged(&one, &two), "m.room.topic"), shallow);
}

#[test]
fn ties_are_broken_by_the_hash_of_the_id() {
    let mut base = three("1");
    promote(&mut base, ALICE, json!({BOB: 50}));
    for n in 0..8 {
        let (mut one, mut two) = (base.clone(), base.clone());
        one.wait(n);
        two.wait(n);
        let ids = [topic(&mut one, ALICE, "one"), topic(&mut two, BOB, "two")];
        // The text and the bytes of a hash have the same order.
        let lowest = ids.iter().min_by_key(|id| Sha1::digest(id.as_str()));
        assert_eq!(&id(&merged(&one, &two), "m.room.topic"), lowest.unwrap());
    }
}
