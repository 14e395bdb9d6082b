//! What clients have folded is what is there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Subject;
use crate::process::model::{
    fold::{Room, StateIds},
    history::History,
    syncer::{Checkpoint, Syncer},
};

/// Checks a client, beside one that has just made its first sync.
pub(super) fn check(
    histories: &BTreeMap<String, History>,
    syncer: &Syncer<'_>,
    fresh: &Syncer<'_>,
) {
    for (room_id, history) in histories {
        let subject = Subject::new(syncer.world, history, syncer);
        let room = syncer.known.rooms.get(room_id);
        let expected = match subject.membership() {
            "ban" => "leave",
            membership => membership,
        };
        match room {
            None if expected == "leave" => continue,
            None => subject.fail("the client does not know the room"),
            Some(room) => subject.require("the section", &&*room.section, &expected),
        }
        let room = room.unwrap();
        match expected {
            "join" => check_joined(&subject, syncer, room, &fresh.known.rooms[room_id]),
            "leave" => check_left(&subject, syncer, room),
            _ => check_stripped(&subject, room),
        }
    }
    check_data(syncer, fresh);
    check_device_lists(histories, syncer);
    check_to_device(syncer);
}

/// Checks what a client knew of rooms after each answer.
pub(in super::super) fn check_checkpoints(
    histories: &BTreeMap<String, History>,
    syncer: &mut Syncer<'_>,
) {
    for checkpoint in std::mem::take(&mut syncer.checkpoints) {
        let history = &histories[&checkpoint.room_id];
        let subject = Subject::new(syncer.world, history, syncer);
        // A filter may hide what happened last.
        if syncer.options.is_unfiltered() {
            check_checkpoint(&subject, syncer, &checkpoint);
        }
    }
}

fn check_checkpoint(subject: &Subject<'_>, syncer: &Syncer<'_>, checkpoint: &Checkpoint) {
    let index = subject.history.known_index(&checkpoint.last);
    let expected = subject.history.state_ids(index);
    require_state(
        subject,
        syncer,
        &format!("after event {index}"),
        (&checkpoint.state, &expected),
        &checkpoint.senders,
    );
}

/// A client that loads members lazily knows those that it needs, and all else.
fn require_state(
    subject: &Subject<'_>,
    syncer: &Syncer<'_>,
    when: &str,
    (known, expected): (&StateIds, &StateIds),
    senders: &[String],
) {
    let is_needed = |key: &(String, String)| {
        !syncer.options.is_lazy
            || key.0 != "m.room.member"
            || key.1 == subject.user_id
            || senders.contains(&key.1)
    };
    let keys: BTreeSet<_> = known.keys().chain(expected.keys()).collect();
    for key in keys {
        let (known, expected) = (known.get(key), expected.get(key));
        let is_needed = is_needed(key);
        if known != expected && (is_needed || known.is_some() && expected.is_none()) {
            let index =
                |event_id: Option<&String>| event_id.and_then(|id| subject.history.index(id));
            let (known, expected) = (index(known), index(expected));
            subject.fail(&format!(
                "the state {key:?} {when} is {known:?}, not {expected:?}"
            ));
        }
    }
}

fn check_joined(subject: &Subject<'_>, syncer: &Syncer<'_>, room: &Room, fresh: &Room) {
    let history = subject.history;
    let expected = history.state_ids(history.last());
    require_state(subject, syncer, "now", (&room.state, &expected), &[]);
    check_timeline(subject, syncer, room);
    check_summary(subject, room);
    subject.require("who has read", &receipts(room), &receipts(fresh));
    for (_, receipt_type, _) in room
        .receipts
        .keys()
        .filter(|(user_id, ..)| user_id != subject.user_id)
    {
        subject.require("the receipt of another", &&**receipt_type, &"m.read");
    }
    // A message that the client does not want changes nothing for it.
    if syncer.options.is_unfiltered() {
        subject.require("what is unread", &room.unread, &fresh.unread);
    }
    subject.require("the private data", &room.account_data, &fresh.account_data);
}

/// The receipts that a client can know: the form of `m.receipt` has no place for two receipts of a
/// user for the same event.
fn receipts(room: &Room) -> BTreeMap<&(String, String, String), &str> {
    let is_covered = |(user_id, receipt_type, thread): &(String, String, String),
                      event_id: &String| {
        let of_room = (user_id.clone(), receipt_type.clone(), String::new());
        !thread.is_empty() && room.receipts.get(&of_room) == Some(event_id)
    };
    let known = room.receipts.iter();
    let known = known.filter(|(key, event_id)| !is_covered(key, event_id));
    known.map(|(key, event_id)| (key, &**event_id)).collect()
}

fn check_timeline(subject: &Subject<'_>, syncer: &Syncer<'_>, room: &Room) {
    if room.has_gap {
        return;
    }
    let index = |event_id: &String| subject.history.known_index(event_id);
    let known: Vec<usize> = room.timeline.iter().map(index).collect();
    let mut expected = subject.visible();
    expected.retain(|index| syncer.options.wants(&subject.history.events[*index]));
    if !room.is_complete {
        let skipped = expected.len().saturating_sub(known.len());
        expected.drain(..skipped);
    }
    subject.require("the timeline", &known, &expected);
}

fn check_summary(subject: &Subject<'_>, room: &Room) {
    let history = subject.history;
    let count = |membership: &str| {
        let users = subject.world.user_ids();
        users
            .filter(|user_id| history.membership(user_id, Some(history.last())) == membership)
            .count()
    };
    for (field, membership) in [
        ("m.joined_member_count", "join"),
        ("m.invited_member_count", "invite"),
    ] {
        let expected = Value::from(count(membership));
        let found = room.summary.get(field).unwrap_or(&Value::Null);
        subject.require(field, &found, &&expected);
    }
}

fn check_left(subject: &Subject<'_>, syncer: &Syncer<'_>, room: &Room) {
    let own = ("m.room.member".to_owned(), subject.user_id.to_owned());
    let mut known = room.state.clone();
    let now = subject.history.state_ids(subject.history.last());
    if let Some(event_id) = known.remove(&own) {
        subject.require("the own membership", &event_id, &now[&own]);
    }
    let Some(end) = subject.end_of_stay() else {
        return subject.require(
            "the state for who was never in the room",
            &known,
            &BTreeMap::new(),
        );
    };
    if known.is_empty() {
        return;
    }
    let mut expected = subject.history.state_ids(end);
    expected.remove(&own);
    require_state(subject, syncer, "at the end", (&known, &expected), &[]);
    if !room.has_gap {
        let index = |event_id: &String| subject.history.known_index(event_id);
        let known: Vec<usize> = room.timeline.iter().map(index).collect();
        subject.require("the order of the timeline", &known.is_sorted(), &true);
    }
}

fn check_stripped(subject: &Subject<'_>, room: &Room) {
    let allowed = [
        "m.room.create",
        "m.room.name",
        "m.room.avatar",
        "m.room.topic",
        "m.room.join_rules",
        "m.room.canonical_alias",
        "m.room.encryption",
        "m.room.member",
    ];
    for event in &room.stripped {
        let event_type = event["type"].as_str().unwrap();
        subject.require(
            "a type of stripped state",
            &allowed.contains(&event_type),
            &true,
        );
    }
    let own = room
        .stripped
        .iter()
        .find(|event| event["state_key"] == subject.user_id);
    let membership = own.and_then(|event| event["content"]["membership"].as_str());
    subject.require(
        "the membership in stripped state",
        &membership,
        &Some(subject.membership()),
    );
}

fn check_data(syncer: &Syncer<'_>, fresh: &Syncer<'_>) {
    let (known, expected) = (&syncer.known.account_data, &fresh.known.account_data);
    assert_eq!(known, expected, "the account data of {}", syncer.name());
}

fn check_device_lists(histories: &BTreeMap<String, History>, syncer: &Syncer<'_>) {
    let is_joined = |history: &History, user_id: &str| {
        history.membership(user_id, Some(history.last())) == "join"
    };
    let shares = |other: &str| {
        let both =
            |history: &&History| is_joined(history, syncer.user_id()) && is_joined(history, other);
        histories.values().any(|history| both(&history))
    };
    for (user_id, is_shared) in &syncer.known.device_lists {
        let expected = user_id == syncer.user_id() || shares(user_id);
        assert_eq!(
            *is_shared,
            expected,
            "{} shares a room with {user_id}",
            syncer.name()
        );
    }
}

fn check_to_device(syncer: &Syncer<'_>) {
    let received = syncer.known.to_device.iter();
    let numbers = received
        .map(|message| usize::try_from(message["content"]["number"].as_u64().unwrap()).unwrap());
    let numbers: Vec<usize> = numbers.collect();
    let sent = syncer.world.to_device.lock().unwrap();
    let mut expected = sent
        .get(&(syncer.user, syncer.device))
        .cloned()
        .unwrap_or_default();
    expected.sort_unstable();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected, "the messages to {}", syncer.name());
    for user_id in syncer.world.user_ids() {
        let of_user = syncer
            .known
            .to_device
            .iter()
            .zip(&numbers)
            .filter(|(message, _)| message["sender"] == user_id);
        assert!(
            of_user.map(|(_, number)| number).is_sorted(),
            "the messages of {user_id} to {}",
            syncer.name()
        );
    }
}
