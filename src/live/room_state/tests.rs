use std::collections::BTreeMap;

use ruma::{OwnedEventId, owned_room_id, owned_user_id};
use serde_json::{Value, json};
use storage::room_states::StateEntry;

use super::*;

/// A pseudo-random sequence, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

fn pdu(event_type: &str, state_key: &str, nid: i64, content: &Value) -> Arc<Pdu> {
    let json = json!({
        "type": event_type,
        "state_key": state_key,
        "sender": "@alice:example.org",
        "origin_server_ts": 1,
        "depth": nid,
        "prev_events": [],
        "auth_events": [],
        "content": content,
    });
    let event_id = OwnedEventId::try_from(format!("${nid}")).unwrap();
    let room_id = owned_room_id!("!room:example.org");
    let json = json.to_string().into_boxed_str();
    Arc::new(Pdu::from_stored(event_id, room_id, json).unwrap())
}

/// What the database holds of a room, and what was done to it.
#[derive(Default)]
struct Model {
    state: BTreeMap<StateKeyNid, StateEvent>,
    next: i64,
}

const KEYS: [(&str, &str); 9] = [
    ("m.room.create", ""),
    ("m.room.name", ""),
    ("m.room.power_levels", ""),
    ("org.test.other", "a"),
    ("org.test.other", "b"),
    ("m.room.member", "@alice:example.org"),
    ("m.room.member", "@bob:example.org"),
    ("m.room.member", "@carol:example.org"),
    ("m.room.member", "not a user"),
];

impl Model {
    /// A change of some keys, as the stream has it.
    fn change(&mut self, dice: &mut Dice) -> Vec<StateChange> {
        let count = 1 + dice.roll(3);
        let mut changes = BTreeMap::new();
        for _ in 0..count {
            let index = dice.roll(KEYS.len());
            let (event_type, state_key) = KEYS[index];
            let key = StateKeyNid(index as i64 + 1);
            if changes.contains_key(&key) {
                continue;
            }
            self.next += 1;
            let membership = ["join", "invite", "leave", "ban", "knock", "org.odd"][dice.roll(6)];
            let content = json!({ "membership": membership, "name": self.next.to_string() });
            let from = self.state.get(&key).cloned();
            let to = (dice.roll(4) > 0).then(|| StateEvent {
                nid: EventNid(self.next),
                pdu: pdu(event_type, state_key, self.next, &content),
            });
            match &to {
                Some(event) => self.state.insert(key, event.clone()),
                None => self.state.remove(&key),
            };
            changes.insert(key, StateChange { key, from, to });
        }
        changes.into_values().collect()
    }

    fn head(&self, revision: i64) -> RoomHead {
        RoomHead {
            version: HeadVersion {
                revision,
                extremities: vec![EventNid(self.next)],
            },
            depth: self.next,
            snapshot_nid: SnapshotNid(revision),
        }
    }

    fn extremity(&self) -> OwnedEventId {
        OwnedEventId::try_from(format!("${}", self.next)).unwrap()
    }

    /// The room as it would be loaded.
    fn load(&self, revision: i64) -> RoomState {
        let entries = self.state.iter().map(|(key, event)| StateEntry {
            key: *key,
            event_nid: event.nid,
            event_type: event.pdu.event_type().to_owned(),
            state_key: event.pdu.state_key().unwrap().to_owned(),
            membership: event
                .pdu
                .membership()
                .map(|membership| membership.to_string()),
            pdu: Some(event.pdu.clone()),
        });
        let stored = StoredRoomState {
            room_nid: RoomNid(1),
            room_id: owned_room_id!("!room:example.org"),
            version: RoomVersionId::V12,
            head: self.head(revision),
            extremity_ids: vec![self.extremity()],
            entries: entries.collect(),
            stated_servers: None,
            completed_at: None,
        };
        RoomState::of_stored(stored, StreamPosition(revision))
    }
}

fn describe(state: &RoomState) -> Vec<String> {
    let mut lines = vec![format!("{:?} {:?}", state.head(), state.extremities())];
    let entries = state.entries.0.iter();
    lines.extend(entries.map(|(key, event)| format!("{key:?} {event:?}")));
    let keys = state.keys.iter();
    lines.extend(keys.map(|(text, key)| format!("{text:?} {key:?}")));
    let members = state.members().iter();
    lines.extend(members.map(|(user_id, member)| format!("{user_id} {member:?}")));
    let core = state.core().iter();
    lines.extend(core.map(|pdu| format!("{} {}", pdu.event_id(), pdu.json())));
    lines.push(format!("{:?} {:?}", state.member_counts(), state.heroes()));
    lines.push(format!("{:?} {}", state.push_levels(), state.weight()));
    lines
}

#[test]
fn applying_changes_gives_what_loading_gives() {
    for seed in 0..20 {
        let (mut dice, mut model) = (Dice(seed), Model::default());
        model.change(&mut dice);
        let mut applied = model.load(1);
        for revision in 2..60 {
            let before = applied.clone();
            let unchanged = describe(&before);
            let changes = model.change(&mut dice);
            applied.apply(&changes);
            let follows = applied.advance(&HeadChange {
                room_nid: RoomNid(1),
                head: model.head(revision),
                event_ids: vec![(EventNid(model.next), model.extremity())],
                layers: None,
            });
            assert!(follows);
            assert_eq!(describe(&applied), describe(&model.load(revision)));
            assert_eq!(describe(&before), unchanged, "a clone keeps its own");
        }
    }
}

#[test]
fn appending_gives_what_applying_gives() {
    let mut appended = Model::default().load(1);
    let mut applied = appended.clone();
    let mut stored: BTreeMap<StateKeyNid, EventNid> = BTreeMap::new();
    let mut dice = Dice(7);
    for number in 1..200 {
        let index = dice.roll(KEYS.len());
        let (event_type, state_key) = KEYS[index];
        let key = StateKeyNid(index as i64 + 1);
        let pdu = pdu(
            event_type,
            state_key,
            number,
            &json!({ "membership": "join" }),
        );
        let event = StateEvent {
            nid: EventNid(number),
            pdu: pdu.clone(),
        };
        let change = StateChange {
            key,
            from: None,
            to: Some(event.clone()),
        };
        appended.append(event.nid, &pdu, 1);
        let snapshot = appended.append_state(SnapshotNid(1000 + number), key, &event);
        appended.advance_revision();
        stored.insert(key, event.nid);
        let whole = stored.iter().map(|(key, event)| (*key, *event));
        assert_eq!(snapshot.digest, event::layers::Digest::of(whole));
        applied.apply(&[change]);
        let follows = applied.advance(&HeadChange {
            room_nid: RoomNid(1),
            head: appended.head(),
            event_ids: vec![(event.nid, pdu.event_id().to_owned())],
            layers: appended.layers().cloned(),
        });
        assert!(follows);
        assert_eq!(describe(&applied), describe(&appended));
        assert_eq!(applied.layers(), appended.layers());
    }
}

#[test]
fn a_head_whose_extremities_are_not_known_does_not_follow() {
    let model = Model {
        next: 5,
        ..Model::default()
    };
    let mut state = model.load(1);
    let mut change = HeadChange {
        room_nid: RoomNid(1),
        head: model.head(2),
        event_ids: Vec::new(),
        layers: None,
    };
    assert!(state.advance(&change), "the extremities are the same");
    change.head.version.extremities = vec![EventNid(5), EventNid(6)];
    assert!(!state.advance(&change));
}

#[test]
fn a_redacted_event_is_replaced_if_it_is_still_current() {
    let mut state = RoomState::new(RoomNid(1), owned_room_id!("!room:example.org"), None);
    let name = |nid, name| pdu("m.room.name", "", nid, &json!({ "name": name }));
    let event = |nid, pdu| StateEvent {
        nid: EventNid(nid),
        pdu,
    };
    state.append_state(SnapshotNid(1), StateKeyNid(1), &event(1, name(1, "old")));
    state.append_state(SnapshotNid(2), StateKeyNid(1), &event(2, name(2, "new")));
    let current = |state: &RoomState| {
        state
            .core()
            .get("m.room.name", "")
            .unwrap()
            .json()
            .to_owned()
    };
    let before = current(&state);
    state.redact(&name(1, "gone"));
    assert_eq!(current(&state), before);
    state.redact(&pdu("m.room.name", "", 2, &json!({})));
    assert!(!current(&state).contains("new"));
}

#[test]
fn heroes_are_the_earliest_members_in_the_order_in_which_they_came() {
    let mut members = MemberMap::default();
    let order = [9, 3, 7, 1, 8, 2, 6, 5, 4, 10];
    for number in order {
        let join = Some(MembershipState::Join);
        let member = Member::new(StateKeyNid(number), EventNid(number), join);
        members.insert(&format!("@user{number}:example.org"), member);
    }
    let gone = Member::new(StateKeyNid(1), EventNid(11), Some(MembershipState::Leave));
    members.insert("@user1:example.org", gone);
    let heroes = Heroes::of(&members);
    let names = |reader: &UserId| -> Vec<String> {
        let heroes = heroes.for_reader(reader).into_iter();
        heroes
            .map(|user_id| user_id.localpart().to_owned())
            .collect()
    };
    let stranger = owned_user_id!("@stranger:example.org");
    assert_eq!(
        names(&stranger),
        ["user2", "user3", "user4", "user5", "user6"]
    );
    let own = owned_user_id!("@user3:example.org");
    assert_eq!(names(&own), ["user2", "user4", "user5", "user6", "user7"]);
}
