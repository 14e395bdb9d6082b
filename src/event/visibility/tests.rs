use HistoryVisibility::{Invited, Joined, Shared, WorldReadable};
use MembershipState::{Ban, Invite, Join, Knock, Leave};
use serde_json::json;

use super::*;
use crate::fixture::{ALICE, BOB, CAROL, Room, user};

#[test]
fn visibility_matches_the_table_of_the_specification() {
    let unknown = HistoryVisibility::from("org.example.other");
    for membership in [Join, Invite, Knock, Leave, Ban] {
        for since in [false, true] {
            let allows = |visibility: &HistoryVisibility| {
                VisibilityContext {
                    visibility: visibility.clone(),
                    membership: membership.clone(),
                }
                .allows(since)
            };
            let joined = membership == Join;
            assert!(allows(&WorldReadable));
            assert_eq!(allows(&Shared), joined || since);
            assert_eq!(allows(&unknown), joined || since);
            assert_eq!(allows(&Invited), joined || membership == Invite);
            assert_eq!(allows(&Joined), joined);
        }
    }
}

#[test]
fn history_visibility_defaults_to_shared() {
    let mut room = Room::new("12");
    assert_eq!(visibility(&room.state), Shared);
    for (value, expected) in [
        (json!("world_readable"), WorldReadable),
        (json!("joined"), Joined),
        (json!(5), Shared),
        (json!("nonsense"), HistoryVisibility::from("nonsense")),
    ] {
        let content = json!({"history_visibility": value});
        room.set(ALICE, "m.room.history_visibility", "", content)
            .unwrap();
        assert_eq!(visibility(&room.state), expected);
    }
}

#[test]
fn a_history_visibility_change_is_visible_if_either_value_allows_it() {
    let mut room = Room::new("12");
    let set = |room: &mut Room, value: &str| {
        let before = VisibilityContext::of(&room.state, user(CAROL));
        let content = json!({"history_visibility": value});
        let event = room
            .set(ALICE, "m.room.history_visibility", "", content)
            .unwrap();
        may_see(&event, user(CAROL), &before, false)
    };
    assert!(!set(&mut room, "joined"));
    assert!(set(&mut room, "world_readable"));
    assert!(set(&mut room, "world_readable"));
    assert!(set(&mut room, "joined"));
    assert!(!set(&mut room, "invited"));
}

#[test]
fn users_see_their_own_membership_changes_but_not_those_of_others() {
    let mut room = Room::new("12");
    room.set(
        ALICE,
        "m.room.history_visibility",
        "",
        json!({"history_visibility": "joined"}),
    )
    .unwrap();
    let step = |room: &mut Room, sender: &str, membership: &str| {
        let before =
            [BOB, CAROL].map(|id| (user(id), VisibilityContext::of(&room.state, user(id))));
        let event = room.member(sender, BOB, membership).unwrap();
        before.map(|(id, sight)| may_see(&event, id, &sight, false))
    };
    assert_eq!(step(&mut room, ALICE, "invite"), [false, false]);
    assert_eq!(step(&mut room, BOB, "join"), [true, false]);
    assert_eq!(step(&mut room, ALICE, "leave"), [true, false]);
    assert_eq!(step(&mut room, ALICE, "ban"), [false, false]);
}

#[test]
fn messages_are_visible_by_the_state_at_the_time() {
    let mut room = Room::new("12");
    let before = VisibilityContext::of(&room.state, user(BOB));
    let message = room.message(ALICE).unwrap();
    assert!(!may_see(&message, user(BOB), &before, false));
    assert!(may_see(&message, user(BOB), &before, true));
    assert!(may_see(
        &message,
        user(ALICE),
        &VisibilityContext::of(&room.state, user(ALICE)),
        false
    ));
}
