use super::*;

#[test]
fn users_join_public_rooms_only_for_themselves() {
    for number in ALL {
        let mut room = Room::new(number);
        room.join(BOB).unwrap();
        // Again, to change the display name.
        room.join(BOB).unwrap();
        denied(room.member(BOB, CAROL, "join"), "");
    }
}

#[test]
fn only_the_creator_may_join_first() {
    for number in ["10", "11", "12"] {
        let mut room = Room::with_create_event(number, json!({}));
        denied(room.join(BOB), "");
        room.join(ALICE).unwrap();
    }
}

#[test]
fn an_invited_user_may_join_an_invite_only_room() {
    let mut room = Room::new("12");
    rules(&mut room, "invite");
    denied(room.join(BOB), "");
    room.member(ALICE, BOB, "invite").unwrap();
    room.join(BOB).unwrap();
    denied(room.member(ALICE, BOB, "invite"), "");
}

#[test]
fn non_members_cannot_invite() {
    let mut room = Room::new("12");
    denied(room.member(BOB, CAROL, "invite"), "");
}

#[test]
fn an_invite_can_be_declined_and_withdrawn() {
    let mut room = Room::new("12");
    rules(&mut room, "invite");
    room.member(ALICE, BOB, "invite").unwrap();
    room.member(BOB, BOB, "leave").unwrap();
    room.member(ALICE, BOB, "invite").unwrap();
    room.member(ALICE, BOB, "leave").unwrap();
    denied(room.join(BOB), "");
}

#[test]
fn kicked_user_cannot_rejoin_invite_only_room() {
    for number in ALL {
        let mut room = Room::new(number);
        room.join(BOB).unwrap();
        rules(&mut room, "invite");
        room.member(ALICE, BOB, "leave").unwrap();
        denied(room.join(BOB), "");
    }
}

#[test]
fn non_members_cannot_leave() {
    let mut room = Room::new("12");
    denied(room.member(BOB, BOB, "leave"), "");
}

#[test]
fn a_ban_holds_until_it_is_lifted() {
    for number in ALL {
        let mut room = Room::new(number);
        room.join(BOB).unwrap();
        room.member(ALICE, BOB, "ban").unwrap();
        denied(room.join(BOB), "");
        denied(room.member(ALICE, BOB, "invite"), "");
        denied(room.member(BOB, BOB, "leave"), "");
        room.member(ALICE, BOB, "leave").unwrap();
        room.join(BOB).unwrap();
    }
}

#[test]
fn kicks_and_bans_require_a_higher_power_level() {
    let mut room = Room::new("11");
    let users = json!({ALICE: 100, BOB: 50, CAROL: 50});
    room.join(BOB).unwrap();
    room.join(CAROL).unwrap();
    denied(room.member(BOB, CAROL, "leave"), "");
    room.set(ALICE, "m.room.power_levels", "", json!({"users": users}))
        .unwrap();
    for membership in ["leave", "ban"] {
        denied(room.member(BOB, CAROL, membership), "");
        denied(room.member(BOB, ALICE, membership), "");
    }
    room.member(ALICE, BOB, "ban").unwrap();
}

#[test]
fn knocking_begins_with_version_7() {
    for number in ALL {
        let mut room = Room::new(number);
        rules(&mut room, "knock");
        let knock = room.member(BOB, BOB, "knock");
        if room.version.knocking() {
            knock.unwrap();
            denied(room.join(BOB), "");
            room.member(ALICE, BOB, "invite").unwrap();
            room.join(BOB).unwrap();
        } else {
            denied(knock, "");
        }
    }
    let mut room = Room::new("12");
    denied(room.member(BOB, BOB, "knock"), "");
}

#[test]
fn a_restricted_join_needs_an_authorising_user_who_can_invite() {
    for number in ALL {
        let mut room = Room::new(number);
        room.join(CAROL).unwrap();
        rules(&mut room, "restricted");
        denied(room.join(BOB), "");
        let join = |voucher: &str| json!({"membership": "join", "join_authorised_via_users_server": voucher});
        denied(
            room.set(BOB, "m.room.member", BOB, join("@dora:example.org")),
            "",
        );
        let vouched = room.set(BOB, "m.room.member", BOB, join(ALICE));
        assert_eq!(vouched.is_ok(), room.version.restricted_joins(), "{number}");
    }
}

#[test]
fn an_unknown_membership_is_refused() {
    let mut room = Room::new("12");
    denied(room.member(ALICE, ALICE, "org.example.dancing"), "");
    let missing = room.build(ALICE, "m.room.member", Some(ALICE), json!({}));
    assert!(missing.is_err());
}
