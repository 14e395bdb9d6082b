use std::sync::Arc;

use HistoryVisibility::{Invited, Joined, Shared, WorldReadable};
use MembershipState::{Ban, Invite, Join, Knock, Leave};
use serde_json::json;

use super::*;
use crate::{
    Denied, Pdu,
    fixture::{ALICE, BOB, CAROL, Room, user},
};

/// Whether each of the users may see what is sent, without being a member after it.
fn seen_by<const N: usize>(
    room: &mut Room,
    users: [&str; N],
    send: impl FnOnce(&mut Room) -> Result<Arc<Pdu>, Denied>,
) -> [bool; N] {
    let contexts = |room: &Room| users.map(|id| VisibilityContext::of(&room.state, user(id)));
    let before = contexts(room);
    send(room).unwrap();
    let mut pairs = before.into_iter().zip(contexts(room));
    users.map(|_| {
        let (before, after) = pairs.next().unwrap();
        may_see(&before, &after, false)
    })
}

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
    let mut is_seen = |value: &str| {
        let content = json!({"history_visibility": value});
        let set = |room: &mut Room| room.set(ALICE, "m.room.history_visibility", "", content);
        seen_by(&mut room, [CAROL], set) == [true]
    };
    assert!(!is_seen("joined"));
    assert!(is_seen("world_readable"));
    assert!(is_seen("world_readable"));
    assert!(is_seen("joined"));
    assert!(!is_seen("invited"));
}

#[test]
fn users_see_their_own_membership_changes_but_not_those_of_others() {
    let mut room = Room::new("12");
    let content = json!({"history_visibility": "joined"});
    room.set(ALICE, "m.room.history_visibility", "", content)
        .unwrap();
    let mut step = |sender: &str, membership: &str| {
        seen_by(&mut room, [BOB, CAROL], |room| {
            room.member(sender, BOB, membership)
        })
    };
    assert_eq!(step(ALICE, "invite"), [false, false]);
    assert_eq!(step(BOB, "join"), [true, false]);
    assert_eq!(step(ALICE, "leave"), [true, false]);
    assert_eq!(step(ALICE, "ban"), [false, false]);
}

#[test]
fn messages_are_visible_by_the_state_at_the_time() {
    let mut room = Room::new("12");
    let seen = seen_by(&mut room, [ALICE, BOB], |room| room.message(ALICE));
    assert_eq!(seen, [true, false]);
    let context = VisibilityContext::of(&room.state, user(BOB));
    assert!(may_see(&context, &context, true));
}
