//! What the other endpoints answer is what is there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Subject;
use crate::process::model::{
    fold::{list, object, text},
    history::{History, event_id},
    random::Random,
    syncer::Syncer,
    world::encoded,
};

/// Events of each room that are asked for one by one.
const SAMPLES: usize = 6;

/// Checks what a user reads of a room.
pub(super) fn check(subject: &Subject<'_>, syncer: &mut Syncer<'_>) {
    // The state that the user may read: none if all is refused.
    let history = subject.history;
    let at = match subject.membership() {
        _ if history.is_open_after(history.last()) => Some(history.last()),
        "join" => Some(history.last()),
        "leave" | "ban" => subject.end_of_stay(),
        _ => None,
    };
    if syncer.world.has_forgotten(syncer.user, &history.room_id) && at != Some(history.last()) {
        return;
    }
    check_state(subject, syncer, at);
    check_members(subject, syncer, at);
    check_joined_members(subject, syncer);
    check_messages(subject, syncer);
    check_events(subject, syncer);
}

fn state_ids(events: &Value) -> BTreeMap<(String, String), String> {
    let key = |event: &Value| (text(event, "type"), text(event, "state_key"));
    list(events)
        .iter()
        .map(|event| (key(event), event_id(event).to_owned()))
        .collect()
}

fn check_state(subject: &Subject<'_>, syncer: &mut Syncer<'_>, at: Option<usize>) {
    let path = format!("rooms/{}/state", encoded(&subject.history.room_id));
    let answer = syncer.get(&path);
    match at {
        None => subject.require("the status of /state", &answer.status, &403),
        Some(at) => {
            subject.require("the status of /state", &answer.status, &200);
            subject.require(
                "/state",
                &state_ids(&answer.body),
                &subject.history.state_ids(at),
            );
        }
    }
}

fn check_members(subject: &Subject<'_>, syncer: &mut Syncer<'_>, at: Option<usize>) {
    let path = format!("rooms/{}/members", encoded(&subject.history.room_id));
    let answer = syncer.get(&path);
    match at {
        None => subject.require("the status of /members", &answer.status, &403),
        Some(at) => {
            let mut expected = subject.history.state_ids(at);
            expected.retain(|(event_type, _), _| event_type == "m.room.member");
            subject.require("/members", &state_ids(&answer.body["chunk"]), &expected);
        }
    }
}

fn check_joined_members(subject: &Subject<'_>, syncer: &mut Syncer<'_>) {
    let history = subject.history;
    let answer = syncer.get(&format!(
        "rooms/{}/joined_members",
        encoded(&history.room_id)
    ));
    if subject.membership() != "join" && answer.status == 403 {
        return;
    }
    let is_readable = subject.membership() == "join" || history.is_open_after(history.last());
    subject.require(
        "whether /joined_members is answered",
        &(answer.status == 200),
        &is_readable,
    );
    let found: BTreeSet<&str> = object(&answer.body["joined"])
        .map(|(user_id, _)| &**user_id)
        .collect();
    let is_joined = |user_id: &&str| history.membership(user_id, Some(history.last())) == "join";
    let expected = subject.world.user_ids().filter(is_joined).collect();
    subject.require("/joined_members", &found, &expected);
}

fn check_messages(subject: &Subject<'_>, syncer: &mut Syncer<'_>) {
    let history = subject.history;
    let path = format!("rooms/{}/messages?limit=11", encoded(&history.room_id));
    let mut found = None;
    for direction in ["f", "b"] {
        let (mut ids, mut from) = (Vec::new(), String::new());
        loop {
            let answer = syncer.get(&format!("{path}&dir={direction}{from}"));
            subject.require(
                "whether /messages are shown",
                &(answer.status == 200),
                &subject.may_read(),
            );
            if answer.status != 200 {
                return;
            }
            syncer.seen.add(&history.room_id, &answer.body, None);
            ids.extend(
                list(&answer.body["chunk"])
                    .iter()
                    .map(|event| event_id(event).to_owned()),
            );
            match answer.body["end"].as_str() {
                Some(end) => from = format!("&from={end}"),
                None => break,
            }
        }
        if direction == "b" {
            ids.reverse();
        }
        let ids: Vec<usize> = ids
            .iter()
            .map(|event_id| history.index(event_id).unwrap())
            .collect();
        if let Some(found) = found.replace(ids) {
            subject.require("/messages read forwards", &found, &subject.visible());
        }
    }
    subject.require(
        "/messages read backwards",
        &found.unwrap(),
        &subject.visible(),
    );
}

fn check_events(subject: &Subject<'_>, syncer: &mut Syncer<'_>) {
    let history = subject.history;
    let visible: BTreeSet<usize> = subject.visible().into_iter().collect();
    let mut random = Random::new(history.last() as u64 ^ syncer.user as u64);
    for _ in 0..SAMPLES {
        let index = random.below(history.last() + 1);
        for path in ["event", "context"] {
            let path = format!(
                "rooms/{}/{path}/{}",
                encoded(&history.room_id),
                history.id(index)
            );
            let answer = syncer.get(&path);
            let is_shown = answer.status == 200;
            let expected = subject.may_read() && visible.contains(&index);
            subject.require(
                &format!("whether {path} is shown (event {index})"),
                &is_shown,
                &expected,
            );
        }
    }
}

/// Checks what a user reads beside rooms.
pub(super) fn check_account(histories: &BTreeMap<String, History>, syncer: &mut Syncer<'_>) {
    let user_id = syncer.user_id().to_owned();
    let answer = syncer.get("joined_rooms").ok();
    let found: BTreeSet<&str> = list(&answer["joined_rooms"])
        .iter()
        .map(|room_id| room_id.as_str().unwrap())
        .collect();
    let is_joined =
        |history: &&History| history.membership(&user_id, Some(history.last())) == "join";
    let expected = histories
        .values()
        .filter(is_joined)
        .map(|history| &*history.room_id)
        .collect();
    assert_eq!(found, expected, "the joined rooms of {user_id}");
    for (event_type, content) in syncer.known.account_data.clone() {
        let answer = syncer.get(&format!("user/{user_id}/account_data/{event_type}"));
        if event_type != "m.push_rules" {
            assert_eq!(answer.ok(), content, "{event_type} of {user_id}");
        }
    }
}
