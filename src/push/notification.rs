//! What is posted to a push gateway.
//!
//! Spec: push gateway API, "POST /_matrix/push/v1/notify".

use std::sync::Arc;

use event::Pdu;
use live::{Room, TimelineEvent};
use ruma::push::Action;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use storage::pushers::Pusher;

/// An event that a user is to be notified of.
#[derive(Debug)]
pub(crate) struct Notification {
    pub(crate) event: Arc<TimelineEvent>,
    pub(crate) details: Arc<EventDetails>,
    pub(crate) tweaks: Map<String, Value>,
}

/// What a notification says of the room and the sender.
#[derive(Debug)]
pub(crate) struct EventDetails {
    sender_display_name: Option<String>,
    room_name: Option<String>,
    room_alias: Option<String>,
}

#[derive(Default, Deserialize)]
struct Texts {
    displayname: Option<String>,
    name: Option<String>,
    alias: Option<String>,
}

impl EventDetails {
    /// Those of a room and of the member event of the sender, as they are now.
    pub(crate) fn new(room: &Room, sender: Option<&Pdu>) -> Self {
        let core = room.state().core();
        let texts = |pdu: Option<&Pdu>| {
            let texts = pdu.and_then(|pdu| pdu.content_as::<Texts>().ok());
            texts.unwrap_or_default()
        };
        let of_state = |event_type| texts(core.get(event_type, "").map(|pdu| &**pdu));
        let is_set = |text: &String| !text.is_empty();
        Self {
            sender_display_name: texts(sender).displayname.filter(is_set),
            room_name: of_state("m.room.name").name.filter(is_set),
            room_alias: of_state("m.room.canonical_alias").alias.filter(is_set),
        }
    }
}

/// The tweaks among the actions of a push rule.
pub(crate) fn tweaks(actions: &[Action]) -> Map<String, Value> {
    let tweaks = actions.iter().filter_map(|action| match action {
        Action::SetTweak(tweak) => {
            let value = tweak.value().map(|value| value.get().to_owned());
            let value = value.and_then(|value| serde_json::from_str(&value).ok());
            Some((
                tweak.set_tweak().to_owned(),
                value.unwrap_or(Value::Bool(true)),
            ))
        }
        _ => None,
    });
    tweaks.collect()
}

/// The request for an event.
pub(crate) fn of_event(pusher: &Pusher, notification: &Notification, unread: u64) -> Value {
    let data = data(pusher);
    let pdu = notification.event.pdu();
    let tweaks = &notification.tweaks;
    let mut body = Map::from_iter([
        ("event_id".to_owned(), pdu.event_id().as_str().into()),
        ("room_id".to_owned(), pdu.room_id().as_str().into()),
        ("prio".to_owned(), priority(pdu, tweaks).into()),
        ("counts".to_owned(), json!({ "unread": unread })),
    ]);
    let is_id_only = data.get("format").and_then(Value::as_str) == Some("event_id_only");
    if !is_id_only {
        add_event_fields(&mut body, pdu, &notification.details);
        if pdu.event_type() == "m.room.member" {
            let is_target = pdu.state_key() == Some(pusher.user_id.as_str());
            body.insert("user_is_target".to_owned(), is_target.into());
        }
    }
    with_device(body, pusher, data, tweaks.clone())
}

/// The request for a changed number of unread notifications. It is there also when it is 0: what is
/// left out would leave the number that is shown.
pub(crate) fn of_badge(pusher: &Pusher, unread: u64) -> Value {
    let body = Map::from_iter([
        ("prio".to_owned(), "low".into()),
        ("counts".to_owned(), json!({ "unread": unread })),
    ]);
    with_device(body, pusher, data(pusher), Map::new())
}

fn add_event_fields(body: &mut Map<String, Value>, pdu: &Pdu, details: &EventDetails) {
    let content = serde_json::from_str(pdu.content_text()).ok();
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    add("type", Some(pdu.event_type().into()));
    add("sender", Some(pdu.sender().as_str().into()));
    add("content", content);
    let texts = [
        ("sender_display_name", &details.sender_display_name),
        ("room_name", &details.room_name),
        ("room_alias", &details.room_alias),
    ];
    for (name, text) in texts {
        add(name, text.clone().map(Value::from));
    }
}

fn with_device(
    mut notification: Map<String, Value>,
    pusher: &Pusher,
    data: Map<String, Value>,
    tweaks: Map<String, Value>,
) -> Value {
    let settings = &pusher.settings;
    let device = json!({
        "app_id": settings.app_id,
        "pushkey": settings.push_key,
        "pushkey_ts": settings.set_ts / 1_000,
        "data": data,
        "tweaks": tweaks,
    });
    notification.insert("devices".to_owned(), json!([device]));
    json!({ "notification": notification })
}

/// What the client told the pusher to send with each notification.
fn data(pusher: &Pusher) -> Map<String, Value> {
    serde_json::from_str(&pusher.settings.data).unwrap_or_default()
}

/// `high` for what makes a sound or is highlighted, or may be once the client has decrypted it.
fn priority(pdu: &Pdu, tweaks: &Map<String, Value>) -> &'static str {
    let is_on = |name| {
        tweaks
            .get(name)
            .is_some_and(|value| *value != Value::Bool(false))
    };
    if pdu.event_type() == "m.room.encrypted" || is_on("sound") || is_on("highlight") {
        "high"
    } else {
        "low"
    }
}
