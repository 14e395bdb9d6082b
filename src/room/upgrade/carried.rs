//! What a room that is replaced hands on to its replacement.

use event::{
    PowerLevel, PowerLevels, RoomVersion,
    space::{SPACE_CHILD, SpaceChild},
};
use ruma::{
    OwnedRoomAliasId, OwnedUserId, UserId,
    events::{TimelineEventType, room::member::MembershipState},
};
use serde_json::{Map, Value, json, value::RawValue};

use crate::{Error, Rooms, content::raw, head::Head};

/// The types of events that are carried over as they are. Spec: client-server, "Room upgrades".
const TYPES: [&str; 8] = [
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.encryption",
    "m.room.server_acl",
    "m.room.name",
    "m.room.topic",
    "m.room.avatar",
];
/// The most bans that are carried over.
const MAX_BANS: usize = 10_000;
/// The level of creators in versions in which they are not above all levels.
const CREATOR: i64 = 100;

/// The state that the replacement of a room begins with, besides its power levels.
#[derive(Debug)]
pub(super) struct CarriedState {
    /// Type, state key and content.
    pub(super) events: Vec<(TimelineEventType, String, Box<RawValue>)>,
}

impl CarriedState {
    /// That of a room, to whose replacement these aliases will point. Nobody can ban its creators.
    pub(super) async fn of(
        rooms: &Rooms,
        head: &Head,
        aliases: &[OwnedRoomAliasId],
        creators: &[OwnedUserId],
    ) -> Result<Self, Error> {
        let core = head.state.core();
        let settings = TYPES.iter().filter_map(|event_type| {
            let pdu = core.get(event_type, "")?;
            Some((
                (*event_type).into(),
                String::new(),
                pdu.content().to_owned(),
            ))
        });
        let mut events: Vec<_> = settings.collect();
        if let Some(content) = canonical_alias(head, aliases)? {
            let event_type = TimelineEventType::RoomCanonicalAlias;
            events.push((event_type, String::new(), content));
        }
        let members = head.state.members().iter();
        let bans = members.filter(|(user_id, member)| {
            let is_creator = creators.iter().any(|creator| creator == *user_id);
            member.membership() == MembershipState::Ban && !is_creator
        });
        let bans: Vec<_> = bans.map(|(_, member)| member.event_nid).collect();
        if bans.len() > MAX_BANS {
            return Err(Error::Invalid(format!(
                "A room with more than {MAX_BANS} banned users cannot be upgraded"
            )));
        }
        let children = head.state.of_type(SPACE_CHILD).map(|(_, nid)| nid);
        let wanted: Vec<_> = bans.into_iter().chain(children).collect();
        let mut found: Vec<_> = rooms.0.live.events(wanted).await?.into_values().collect();
        found.retain(|pdu| pdu.event_type() != SPACE_CHILD || SpaceChild::of(pdu).is_some());
        found.sort_by(|a, b| a.state_key().cmp(&b.state_key()));
        for pdu in found {
            let content = if pdu.event_type() == SPACE_CHILD {
                pdu.content().to_owned()
            } else {
                ban(pdu.content_as().unwrap_or_default())?
            };
            let state_key = pdu.state_key().unwrap_or_default().to_owned();
            events.push((pdu.timeline_event_type().clone(), state_key, content));
        }
        Ok(Self { events })
    }
}

/// The content of a ban without the profile, which the banned user may have changed since.
fn ban(before: Map<String, Value>) -> Result<Box<RawValue>, Error> {
    let mut content = before;
    content.retain(|field, _| field == "reason");
    content.insert("membership".to_owned(), "ban".into());
    raw(&content)
}

/// The canonical alias and its alternatives, as far as they are among these aliases.
fn canonical_alias(
    head: &Head,
    aliases: &[OwnedRoomAliasId],
) -> Result<Option<Box<RawValue>>, Error> {
    let pdu = head.state.core().get("m.room.canonical_alias", "");
    let content = pdu.and_then(|pdu| pdu.content_as::<Map<String, Value>>().ok());
    let Some(mut content) = content else {
        return Ok(None);
    };
    let is_moved = |alias: &Value| aliases.iter().any(|moved| alias == moved.as_str());
    if !content.get("alias").is_some_and(is_moved) {
        content.remove("alias");
    }
    if let Some(Value::Array(others)) = content.get_mut("alt_aliases") {
        others.retain(is_moved);
    }
    raw(&content).map(Some)
}

/// The power levels of the replacement of a room; none if the room has none.
///
/// Creators of a version in which they stand above all levels are not listed; in another version
/// those who were above all levels get the highest one that anything needs.
pub(super) fn power_levels(
    head: &Head,
    version: &RoomVersion,
    creator: &UserId,
    additional_creators: &[OwnedUserId],
) -> Option<Value> {
    let state = head.state.core();
    let before = state.get("m.room.power_levels", "")?;
    let mut content: Map<String, Value> = before.content_as().ok()?;
    if version.integer_power_levels() {
        content = integers(content);
    }
    let highest = highest(&content);
    let users = content.entry("users").or_insert_with(|| json!({}));
    let users = users.as_object_mut()?;
    if version.privileges_creators() {
        users.remove(creator.as_str());
        for user_id in additional_creators {
            users.remove(user_id.as_str());
        }
    } else {
        let levels = PowerLevels::of(state, &head.version);
        let creators = levels
            .users()
            .filter(|(_, level)| *level == PowerLevel::Infinite);
        for (user_id, _) in creators {
            users.insert(user_id.to_string(), highest.into());
        }
    }
    Some(Value::Object(content))
}

/// Makes integers of levels that are texts, which versions before 10 allow; others are left out.
fn integers(content: Map<String, Value>) -> Map<String, Value> {
    let converted = content.into_iter().filter_map(|(name, value)| {
        let value = match value {
            Value::Object(levels) => Value::Object(integers(levels)),
            Value::String(text) => text.trim().parse::<i64>().ok()?.into(),
            Value::Number(number) if number.is_i64() => Value::Number(number),
            _ => return None,
        };
        Some((name, value))
    });
    converted.collect()
}

/// The highest level that anything needs.
fn highest(content: &Map<String, Value>) -> i64 {
    let events = content.get("events").and_then(Value::as_object);
    let events = events.into_iter().flat_map(Map::values);
    let levels = content.values().chain(events).filter_map(Value::as_i64);
    levels.fold(CREATOR, i64::max)
}
