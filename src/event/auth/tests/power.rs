use super::*;

fn levels(room: &mut Room, sender: &str, content: Value) -> Result<Arc<Pdu>, Denied> {
    room.set(sender, "m.room.power_levels", "", content)
}

/// A room of version 11 in which Bob has 50 and Alice 100.
fn two_power_levels() -> Room {
    let mut room = Room::new("11");
    room.join(BOB).unwrap();
    room.join(CAROL).unwrap();
    levels(&mut room, ALICE, json!({"users": {ALICE: 100, BOB: 50}})).unwrap();
    room
}

#[test]
fn state_needs_its_level() {
    let mut room = two_power_levels();
    room.set(BOB, "m.room.topic", "", json!({"topic": "t"}))
        .unwrap();
    denied(
        room.set(CAROL, "m.room.topic", "", json!({"topic": "t"})),
        "power",
    );
    let events = json!({"m.room.topic": 0, "m.room.message": 60});
    levels(
        &mut room,
        ALICE,
        json!({"users": {ALICE: 100, BOB: 50}, "events": events}),
    )
    .unwrap();
    room.set(CAROL, "m.room.topic", "", json!({"topic": "t"}))
        .unwrap();
    denied(room.message(BOB), "power");
    room.message(ALICE).unwrap();
}

#[test]
fn users_cannot_grant_more_than_their_own_power_level() {
    let mut room = two_power_levels();
    for users in [
        json!({ALICE: 100, BOB: 51}),
        json!({ALICE: 100, BOB: 50, CAROL: 51}),
        json!({ALICE: 50, BOB: 50}),
        json!({BOB: 50}),
    ] {
        denied(levels(&mut room, BOB, json!({"users": users})), "power");
    }
    let same = json!({ALICE: 100, BOB: 50});
    for field in [
        "ban",
        "kick",
        "invite",
        "redact",
        "events_default",
        "state_default",
    ] {
        denied(
            levels(&mut room, BOB, json!({"users": same, field: 51})),
            field,
        );
    }
    denied(
        levels(
            &mut room,
            BOB,
            json!({"users": same, "events": {"m.x": 51}}),
        ),
        "m.x",
    );
    let notifications = json!({"users": same, "notifications": {"room": 51}});
    denied(levels(&mut room, BOB, notifications), "room");
    levels(
        &mut room,
        BOB,
        json!({"users": {ALICE: 100, BOB: 50, CAROL: 50}}),
    )
    .unwrap();
}

#[test]
fn users_may_demote_themselves_but_not_equals() {
    let mut room = two_power_levels();
    levels(
        &mut room,
        ALICE,
        json!({"users": {ALICE: 100, BOB: 50, CAROL: 50}}),
    )
    .unwrap();
    denied(
        levels(
            &mut room,
            BOB,
            json!({"users": {ALICE: 100, BOB: 50, CAROL: 0}}),
        ),
        CAROL,
    );
    levels(
        &mut room,
        BOB,
        json!({"users": {ALICE: 100, BOB: 0, CAROL: 50}}),
    )
    .unwrap();
    denied(
        levels(
            &mut room,
            BOB,
            json!({"users": {ALICE: 100, BOB: 50, CAROL: 50}}),
        ),
        "",
    );
}

#[test]
fn levels_must_be_numbers_of_users() {
    for number in ["10", "11", "12"] {
        let mut room = Room::new(number);
        for content in [
            json!({"ban": "50"}),
            json!({"kick": null}),
            json!({"events": []}),
            json!({"events": {"m.x": "1"}}),
            json!({"notifications": {"room": true}}),
            json!({"users": {"not a user": 1}}),
            json!({"users": {BOB: "1"}}),
        ] {
            denied(levels(&mut room, ALICE, content), "m.room.power_levels");
        }
    }
}

#[test]
fn creators_of_version_12_are_not_listed() {
    let mut room = Room::with_create_event("12", json!({"additional_creators": [BOB]}));
    room.join(ALICE).unwrap();
    for creator in [ALICE, BOB] {
        denied(
            levels(&mut room, ALICE, json!({"users": {creator: 100}})),
            "creator",
        );
    }
    levels(&mut room, ALICE, json!({"users": {CAROL: 100}})).unwrap();
}

#[test]
fn creators_of_version_12_cannot_be_demoted_or_removed() {
    let mut room = Room::with_create_event("12", json!({"additional_creators": [BOB]}));
    room.join(ALICE).unwrap();
    rules(&mut room, "public");
    room.join(BOB).unwrap();
    room.join(CAROL).unwrap();
    let most = 9_007_199_254_740_991_i64;
    levels(
        &mut room,
        ALICE,
        json!({"users": {CAROL: most}, "ban": 0, "kick": 0}),
    )
    .unwrap();
    for creator in [ALICE, BOB] {
        denied(room.member(CAROL, creator, "ban"), "");
        denied(room.member(CAROL, creator, "leave"), "");
    }
    // One creator has no power over another either.
    denied(room.member(ALICE, BOB, "ban"), "");
    room.member(BOB, CAROL, "ban").unwrap();
}

#[test]
fn an_additional_creator_must_still_be_let_in() {
    let mut room = Room::with_create_event("12", json!({"additional_creators": [BOB]}));
    denied(room.join(BOB), "");
    room.join(ALICE).unwrap();
    rules(&mut room, "invite");
    denied(room.join(BOB), "");
    room.member(ALICE, BOB, "invite").unwrap();
    room.join(BOB).unwrap();
    levels(&mut room, BOB, json!({"users": {CAROL: 1}})).unwrap();
}
