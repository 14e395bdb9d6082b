//! How much memory a large room takes: measured by what the process holds.
#![expect(
    clippy::expect_used,
    reason = "what a test needs and does not get fails it"
)]

use std::{fs, sync::Arc};

use event::Pdu;
use live::RoomState;
use ruma::{OwnedEventId, RoomVersionId, events::room::member::MembershipState, owned_room_id};
use serde_json::json;
use storage::stream::StateEvent;
use types::{EventNid, RoomNid, SnapshotNid, StateKeyNid};

const MEMBERS: i64 = 100_000;
const LIMIT: usize = 64 << 20;

/// The memory of this process in bytes.
fn resident() -> usize {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux tells it");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB"));
    let kilobytes: usize = kilobytes.expect("a size").trim().parse().expect("a number");
    kilobytes * 1024
}

fn join(number: i64) -> StateEvent {
    let user_id = format!("@a_user_with_a_long_name_{number}:homeserver.example.org");
    let json = json!({
        "type": "m.room.member",
        "state_key": user_id,
        "sender": user_id,
        "origin_server_ts": 1,
        "depth": number,
        "prev_events": [],
        "auth_events": [],
        "content": { "membership": "join", "displayname": "A user with a long name" },
    });
    let event_id = OwnedEventId::try_from(format!("${number}")).expect("an id");
    let room_id = owned_room_id!("!room:example.org");
    let json = json.to_string().into_boxed_str();
    StateEvent {
        nid: EventNid(number),
        pdu: Arc::new(Pdu::from_stored(event_id, room_id, json).expect("an event")),
    }
}

#[test]
fn a_room_of_100_000_members_takes_at_most_64_mib() {
    let room_id = owned_room_id!("!room:example.org");
    let before = resident();
    let mut state = RoomState::new(RoomNid(1), room_id, Some(RoomVersionId::V12));
    for number in 1..=MEMBERS {
        let event = join(number);
        state.append(event.nid, &event.pdu, 1);
        state.append_state(SnapshotNid(number), StateKeyNid(number), &event);
    }
    let taken = resident().saturating_sub(before);
    assert!(taken <= LIMIT, "{taken} bytes");
    // What the cache counts is about that, and not less than what the parts take.
    assert!(
        state.weight() <= LIMIT,
        "{} bytes are counted",
        state.weight()
    );
    assert!(
        state.weight() * 2 >= taken,
        "{} of {taken} bytes",
        state.weight()
    );
    assert_eq!(state.member_counts().joined, MEMBERS as u64);

    // One more member costs a path of the trees, not the room.
    let before = resident();
    let mut heads = vec![state];
    for number in 1..=20 {
        let event = join(MEMBERS + number);
        let mut next = heads.last().expect("a head").clone();
        let key = StateKeyNid(MEMBERS + number);
        next.append_state(SnapshotNid(MEMBERS + number), key, &event);
        heads.push(next);
    }
    let taken = resident().saturating_sub(before);
    assert!(taken <= 4 << 20, "{taken} bytes for 20 heads");
    let last = heads.last().expect("a head");
    let stranger = ruma::user_id!("@stranger:example.org");
    assert_eq!(last.membership(stranger), MembershipState::Leave);
    assert_eq!(last.members().len(), MEMBERS as usize + 20);
}
