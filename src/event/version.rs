//! What a room version changes, in one place.

use ruma::{
    RoomVersionId,
    room_version_rules::{
        AuthorizationRules, EventFormatRules, EventIdFormatVersion, EventsReferenceFormatVersion,
        RedactionRules, RoomIdFormatVersion, RoomVersionRules, StateResolutionVersion,
    },
};

const SUPPORTED: [RoomVersionId; 12] = [
    RoomVersionId::V1,
    RoomVersionId::V2,
    RoomVersionId::V3,
    RoomVersionId::V4,
    RoomVersionId::V5,
    RoomVersionId::V6,
    RoomVersionId::V7,
    RoomVersionId::V8,
    RoomVersionId::V9,
    RoomVersionId::V10,
    RoomVersionId::V11,
    RoomVersionId::V12,
];

/// A supported room version, with its rules.
#[derive(Clone, Debug)]
pub struct RoomVersion {
    id: RoomVersionId,
    rules: &'static RoomVersionRules,
}

impl RoomVersion {
    /// The rules of a room version, or `None` if Chancery does not support it.
    pub fn of(id: &RoomVersionId) -> Option<Self> {
        let rules = match id {
            RoomVersionId::V1 => &RoomVersionRules::V1,
            RoomVersionId::V2 => &RoomVersionRules::V2,
            RoomVersionId::V3 => &RoomVersionRules::V3,
            RoomVersionId::V4 => &RoomVersionRules::V4,
            RoomVersionId::V5 => &RoomVersionRules::V5,
            RoomVersionId::V6 => &RoomVersionRules::V6,
            RoomVersionId::V7 => &RoomVersionRules::V7,
            RoomVersionId::V8 => &RoomVersionRules::V8,
            RoomVersionId::V9 => &RoomVersionRules::V9,
            RoomVersionId::V10 => &RoomVersionRules::V10,
            RoomVersionId::V11 => &RoomVersionRules::V11,
            RoomVersionId::V12 => &RoomVersionRules::V12,
            _ => return None,
        };
        Some(Self {
            id: id.clone(),
            rules,
        })
    }

    /// The supported room versions, oldest first.
    pub fn supported() -> impl Iterator<Item = RoomVersionId> {
        SUPPORTED.into_iter()
    }

    /// The version of new rooms unless the operator chooses another one: 12.
    pub fn default_version() -> Self {
        Self {
            id: RoomVersionId::V12,
            rules: &RoomVersionRules::V12,
        }
    }

    /// The identifier, such as `12`.
    pub fn id(&self) -> &RoomVersionId {
        &self.id
    }

    /// All rules, as ruma describes them.
    pub fn rules(&self) -> &'static RoomVersionRules {
        self.rules
    }

    /// The rules of authorisation.
    pub fn authorization(&self) -> &'static AuthorizationRules {
        &self.rules.authorization
    }

    /// The rules of redaction.
    pub fn redaction(&self) -> &'static RedactionRules {
        &self.rules.redaction
    }

    /// The rules of an event's form.
    pub fn event_format(&self) -> &'static EventFormatRules {
        &self.rules.event_format
    }

    /// The algorithm of state resolution: v1 in room version 1, v2, or v2.1 since room version 12.
    pub fn resolution(&self) -> &'static StateResolutionVersion {
        &self.rules.state_res
    }

    /// Whether an event contains its id, which is not its hash (only versions 1 and 2).
    pub fn event_contains_id(&self) -> bool {
        self.rules.event_id_format == EventIdFormatVersion::V1
    }

    /// Whether an event names others by id and hash (only versions 1 and 2).
    pub fn references_have_hashes(&self) -> bool {
        self.rules.events_reference_format == EventsReferenceFormatVersion::V1
    }

    /// Whether event ids are hashes in the URL-safe alphabet of base64 (since 4).
    pub fn has_url_safe_hashes(&self) -> bool {
        self.rules.event_id_format == EventIdFormatVersion::V3
    }

    /// Whether the authorisation rules say who may redact what, so that each redaction that they
    /// let in takes effect (only versions 1 and 2).
    pub fn redactions_need_authorization(&self) -> bool {
        self.rules.authorization.special_case_room_redaction
    }

    /// Whether the room id is the hash of the create event, which then names no room (since 12).
    pub fn room_id_is_create_hash(&self) -> bool {
        self.rules.room_id_format == RoomIdFormatVersion::V2
    }

    /// Whether creators stand above all power levels (since 12).
    pub fn privileges_creators(&self) -> bool {
        self.rules.authorization.explicitly_privilege_room_creators
    }

    /// Whether the create event may name further creators (since 12).
    pub fn additional_creators(&self) -> bool {
        self.rules.authorization.additional_room_creators
    }

    /// Whether the creator is the sender of the create event, not its `creator` field (since 11).
    pub fn creator_is_sender(&self) -> bool {
        self.rules.authorization.use_room_create_sender
    }

    /// Whether fields of events are limited in bytes (since 11). In rooms of earlier versions there are
    /// events whose servers have counted characters.
    pub fn limits_bytes(&self) -> bool {
        self.rules.authorization.use_room_create_sender
    }

    /// Whether `redacts` stands in the content of a redaction, not beside it (since 11).
    pub fn redacts_in_content(&self) -> bool {
        self.rules.redaction.content_field_redacts
    }

    /// Whether power levels must be integers, not strings that look like integers (since 10).
    pub fn integer_power_levels(&self) -> bool {
        self.rules.authorization.integer_power_levels
    }

    /// Whether a user may ask to be let in (since 7).
    pub fn knocking(&self) -> bool {
        self.rules.authorization.knocking
    }

    /// Whether membership of another room can let a user in (since 8).
    pub fn restricted_joins(&self) -> bool {
        self.rules.authorization.restricted_join_rule
    }
}

impl PartialEq for RoomVersion {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for RoomVersion {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_1_to_12_are_supported() {
        let ids: Vec<_> = RoomVersion::supported().map(|id| id.to_string()).collect();
        assert_eq!(
            ids,
            [
                "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"
            ]
        );
        assert!(RoomVersion::supported().all(|id| RoomVersion::of(&id).is_some()));
        for unknown in ["0", "13", "org.example"] {
            assert!(RoomVersion::of(&RoomVersionId::try_from(unknown).unwrap()).is_none());
        }
    }

    #[test]
    fn the_default_version_agrees_with_its_table_entry() {
        let default = RoomVersion::default_version();
        let listed = RoomVersion::of(&RoomVersionId::V12).unwrap();
        assert_eq!(default, listed);
        assert_eq!(default.resolution(), listed.resolution());
        assert!(default.room_id_is_create_hash() && default.privileges_creators());
    }
}
