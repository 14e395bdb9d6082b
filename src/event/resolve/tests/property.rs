use proptest::prelude::*;

use super::*;

/// Something that one user tries on one branch; most tries are refused.
#[derive(Clone, Copy, Debug)]
enum Step {
    Join(usize),
    Leave(usize),
    Kick(usize, usize),
    Ban(usize, usize),
    Invite(usize, usize),
    Levels(usize, usize, i64),
    Rule(usize, bool),
    Topic(usize),
    Wait,
}

const USERS: [&str; 4] = [ALICE, BOB, CAROL, "@dora:elsewhere.org"];

fn step() -> impl Strategy<Value = Step> {
    let user = || 0..USERS.len();
    prop_oneof![
        user().prop_map(Step::Join),
        user().prop_map(Step::Leave),
        (user(), user()).prop_map(|(a, b)| Step::Kick(a, b)),
        (user(), user()).prop_map(|(a, b)| Step::Ban(a, b)),
        (user(), user()).prop_map(|(a, b)| Step::Invite(a, b)),
        (user(), user(), prop_oneof![Just(0), Just(50), Just(100)])
            .prop_map(|(a, b, level)| Step::Levels(a, b, level)),
        (user(), any::<bool>()).prop_map(|(a, public)| Step::Rule(a, public)),
        user().prop_map(Step::Topic),
        Just(Step::Wait),
    ]
}

fn take(room: &mut Room, step: Step) {
    // A refused try changes nothing, which is as good a branch as any.
    let _ = match step {
        Step::Join(a) => room.join(USERS[a]),
        Step::Leave(a) => room.member(USERS[a], USERS[a], "leave"),
        Step::Kick(a, b) => room.member(USERS[a], USERS[b], "leave"),
        Step::Ban(a, b) => room.member(USERS[a], USERS[b], "ban"),
        Step::Invite(a, b) => room.member(USERS[a], USERS[b], "invite"),
        Step::Levels(a, b, level) => {
            let now = room.state.get("m.room.power_levels", "").unwrap();
            let mut content = now.content_as::<serde_json::Value>().unwrap();
            content["users"][USERS[b]] = json!(level);
            room.set(USERS[a], "m.room.power_levels", "", content)
        }
        Step::Rule(a, public) => {
            let rule = if public { "public" } else { "invite" };
            room.set(
                USERS[a],
                "m.room.join_rules",
                "",
                json!({"join_rule": rule}),
            )
        }
        Step::Topic(a) => room.set(USERS[a], "m.room.topic", "", json!({"topic": a})),
        Step::Wait => {
            room.wait(50);
            return;
        }
    };
}

fn branches() -> impl Strategy<Value = Vec<Vec<Step>>> {
    prop::collection::vec(prop::collection::vec(step(), 0..8), 2..4)
}

/// A room and its branches; the first knows the events of all.
fn grow(number: &str, before: &[Step], branches: &[Vec<Step>]) -> (Room, Vec<State>) {
    let mut trunk = three(number);
    promote(&mut trunk, ALICE, json!({BOB: 50}));
    for step in before {
        take(&mut trunk, *step);
    }
    let mut forks = Vec::new();
    let mut all = trunk.clone();
    for (n, steps) in branches.iter().enumerate() {
        let mut branch = trunk.clone();
        branch.wait(n as u64);
        for step in steps {
            take(&mut branch, *step);
        }
        all.merge_events(&branch);
        forks.push(branch.state);
    }
    (all, forks)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_order_of_forks_does_not_matter(
        before in prop::collection::vec(step(), 0..6), branches in branches(),
    ) {
        for number in ["1", "2", "6", "11", "12"] {
            let (room, forks) = grow(number, &before, &branches);
            let expected = table(&resolved(&room, &forks));
            let mut turned = forks.clone();
            for _ in &forks {
                turned.rotate_left(1);
                prop_assert_eq!(&table(&resolved(&room, &turned)), &expected);
            }
            turned.reverse();
            prop_assert_eq!(&table(&resolved(&room, &turned)), &expected);
            turned.extend(forks);
            prop_assert_eq!(&table(&resolved(&room, &turned)), &expected);
        }
    }

    #[test]
    fn shortcuts_do_not_change_the_result(
        before in prop::collection::vec(step(), 0..6), branches in branches(),
    ) {
        for number in ["2", "11", "12"] {
            let (room, forks) = grow(number, &before, &branches);
            prop_assert_eq!(table(&resolved(&room, &forks)), naive(&room, &forks));
        }
    }
}
