//! What outsiders are shown of a room: in the directory, in spaces and in previews.
//!
//! Spec: client-server, "room summary".

use ruma::{OwnedRoomId, RoomVersionId, directory::PublicRoomsChunk, room::JoinRuleSummary};
use serde::{Deserialize, Serialize};

use crate::{RoomVersion, State};

/// The type of rooms that are spaces.
const SPACE: &str = "m.space";

/// A room in a few words; serialises as the specification's room summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoomSummary {
    /// The room.
    pub room_id: OwnedRoomId,
    /// How many users are joined.
    #[serde(rename = "num_joined_members")]
    pub joined_members: u64,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Its canonical alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canonical_alias: Option<String>,
    /// Its avatar, an `mxc:` URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// Its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_type: Option<String>,
    /// Who may join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_rule: Option<String>,
    /// The rooms whose members may join a restricted room.
    #[serde(rename = "allowed_room_ids", skip_serializing_if = "Vec::is_empty")]
    pub allowed_rooms: Vec<OwnedRoomId>,
    /// Whether everybody may read.
    pub world_readable: bool,
    /// Whether guests may join.
    pub guest_can_join: bool,
    /// The algorithm of its encryption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// Its version.
    #[serde(rename = "room_version", skip_serializing_if = "Option::is_none")]
    pub version: Option<RoomVersionId>,
}

#[derive(Default, Deserialize)]
struct Content {
    name: Option<String>,
    topic: Option<String>,
    url: Option<String>,
    alias: Option<String>,
    #[serde(rename = "type")]
    room_type: Option<String>,
    history_visibility: Option<String>,
    guest_access: Option<String>,
    algorithm: Option<String>,
}

/// The content of `m.room.join_rules`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct JoinRules {
    /// Who may join.
    pub join_rule: Option<String>,
    #[serde(default)]
    allow: Vec<Allow>,
}

#[derive(Clone, Debug, Deserialize)]
struct Allow {
    #[serde(rename = "type")]
    condition: Option<String>,
    room_id: Option<OwnedRoomId>,
}

/// Whether users of other servers than the creator's may be in a room.
pub fn federates(state: &State) -> bool {
    #[derive(Deserialize)]
    struct Create {
        #[serde(rename = "m.federate")]
        federates: Option<bool>,
    }
    let create = state.get("m.room.create", "");
    let create = create.and_then(|pdu| pdu.content_as::<Create>().ok());
    create.and_then(|create| create.federates).unwrap_or(true)
}

impl JoinRules {
    /// Those of a room.
    pub fn of(state: &State) -> Self {
        let event = state.get("m.room.join_rules", "");
        let content = event.and_then(|pdu| pdu.content_as().ok());
        content.unwrap_or_default()
    }

    /// Whether the members of other rooms may join.
    pub fn is_restricted(&self) -> bool {
        matches!(
            self.join_rule.as_deref(),
            Some("restricted" | "knock_restricted")
        )
    }

    /// The rooms whose members may join; none unless the room is restricted.
    pub fn allowed_rooms(&self) -> Vec<OwnedRoomId> {
        if !self.is_restricted() {
            return Vec::new();
        }
        let of_members = |allow: &&Allow| allow.condition.as_deref() == Some("m.room_membership");
        let rooms = self.allow.iter().filter(of_members);
        rooms.filter_map(|allow| allow.room_id.clone()).collect()
    }
}

impl RoomSummary {
    /// The summary of a room with this state, of which only events without a state key are needed.
    pub fn of(
        room_id: OwnedRoomId,
        version: Option<RoomVersionId>,
        state: &State,
        joined_members: u64,
    ) -> Self {
        let content = |event_type: &str| {
            let event = state.get(event_type, "");
            let content = event.and_then(|pdu| pdu.content_as::<Content>().ok());
            content.unwrap_or_default()
        };
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let join_rules = JoinRules::of(state);
        let is_readable_by = content("m.room.history_visibility").history_visibility;
        let guest_access = content("m.room.guest_access").guest_access;
        Self {
            room_id,
            joined_members,
            name: given(content("m.room.name").name),
            topic: given(content("m.room.topic").topic),
            canonical_alias: given(content("m.room.canonical_alias").alias),
            avatar_url: given(content("m.room.avatar").url),
            room_type: content("m.room.create").room_type,
            allowed_rooms: join_rules.allowed_rooms(),
            join_rule: join_rules.join_rule,
            world_readable: is_readable_by.as_deref() == Some("world_readable"),
            guest_can_join: guest_access.as_deref() == Some("can_join"),
            encryption: content("m.room.encryption").algorithm,
            version,
        }
    }

    /// Whether the room is a space.
    pub fn is_space(&self) -> bool {
        self.room_type.as_deref() == Some(SPACE)
    }

    /// Whether everybody may read the room, join it, or ask to be let in.
    pub fn is_open(&self) -> bool {
        let version = self.version.as_ref().and_then(RoomVersion::of);
        let has_knocking = version.is_none_or(|version| version.knocking());
        self.world_readable
            || match self.join_rule.as_deref() {
                Some("public") => true,
                Some("knock" | "knock_restricted") => has_knocking,
                _ => false,
            }
    }
}

/// What another server says of a room.
impl From<ruma::room::RoomSummary> for RoomSummary {
    fn from(summary: ruma::room::RoomSummary) -> Self {
        let allowed_rooms = match &summary.join_rule {
            JoinRuleSummary::Restricted(restricted)
            | JoinRuleSummary::KnockRestricted(restricted) => restricted.allowed_room_ids.clone(),
            _ => Vec::new(),
        };
        Self {
            room_id: summary.room_id,
            joined_members: summary.num_joined_members.into(),
            name: summary.name,
            topic: summary.topic,
            canonical_alias: summary.canonical_alias.map(Into::into),
            avatar_url: summary.avatar_url.map(Into::into),
            room_type: summary.room_type.map(|room_type| room_type.to_string()),
            join_rule: Some(summary.join_rule.as_str().to_owned()),
            allowed_rooms,
            world_readable: summary.world_readable,
            guest_can_join: summary.guest_can_join,
            encryption: summary.encryption.map(|algorithm| algorithm.to_string()),
            version: summary.room_version,
        }
    }
}

/// What another server says of a room in its directory.
impl From<PublicRoomsChunk> for RoomSummary {
    fn from(room: PublicRoomsChunk) -> Self {
        Self {
            room_id: room.room_id,
            joined_members: room.num_joined_members.into(),
            name: room.name,
            topic: room.topic,
            canonical_alias: room.canonical_alias.map(Into::into),
            avatar_url: room.avatar_url.map(Into::into),
            room_type: room.room_type.map(|room_type| room_type.to_string()),
            join_rule: Some(room.join_rule.to_string()),
            allowed_rooms: Vec::new(),
            world_readable: room.world_readable,
            guest_can_join: room.guest_can_join,
            encryption: None,
            version: None,
        }
    }
}

#[cfg(test)]
mod tests;
