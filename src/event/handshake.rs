//! Membership events that two servers make together: joins, leaves, knocks and invites.
//!
//! Spec: server-server, "Joining Rooms", "Knocking upon a room", "Inviting to a room", "Leaving
//! Rooms". The resident server makes a template, the user's server completes it, and the resident
//! server checks what comes back. Called when users of other servers enter or leave a room, and when
//! local users do so in rooms of other servers.

use std::sync::Arc;

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedRoomId, OwnedUserId,
    RoomId, ServerName, UserId,
    events::{TimelineEventType, room::member::MembershipState},
};
use serde_json::value::RawValue;

use crate::{
    Draft, FormatError, MAX_EVENT_BYTES, Parents, Pdu, RoomVersion, Signer,
    draft::hash_and_sign,
    event_json::EventJson,
    format::{self, canonical_object},
};

#[cfg(test)]
mod tests;

/// Names the user whose server must sign a join to a restricted room.
const AUTHORISED_VIA: &str = "join_authorised_via_users_server";
/// What is taken from the template of another server, beside the authorising user.
const TEMPLATE_FIELDS: [&str; 7] = [
    "auth_events",
    "depth",
    "prev_events",
    "room_id",
    "sender",
    "state_key",
    "type",
];

/// The membership that a user asks another server for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipRequest {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The user, who is also the sender.
    pub user_id: OwnedUserId,
    /// Join, leave or knock.
    pub membership: MembershipState,
}

/// What the resident server adds to a request to make a template of it.
#[derive(Clone, Debug)]
pub struct Residence<'a> {
    /// The resident server.
    pub server_name: &'a ServerName,
    /// Its user who authorises a join to a restricted room.
    pub authorised_via: Option<&'a UserId>,
    /// Where the event is attached to the room's graph.
    pub parents: &'a Parents,
    /// The present.
    pub now: MilliSecondsSinceUnixEpoch,
}

impl MembershipRequest {
    /// The content of the template, which decides on its auth events.
    pub fn content(&self, authorised_via: Option<&UserId>) -> Result<Box<RawValue>, FormatError> {
        let mut content = CanonicalJsonObject::new();
        let text = |text: &str| CanonicalJsonValue::String(text.to_owned());
        content.insert("membership".to_owned(), text(self.membership.as_str()));
        if let Some(user_id) = authorised_via {
            content.insert(AUTHORISED_VIA.to_owned(), text(user_id.as_str()));
        }
        serde_json::value::to_raw_value(&content).map_err(FormatError::malformed)
    }

    /// The template that the user's server completes: an event without hashes and signatures.
    pub fn template(
        self,
        version: &RoomVersion,
        residence: &Residence<'_>,
    ) -> Result<String, FormatError> {
        let draft = Draft {
            content: self.content(residence.authorised_via)?,
            room_id: Some(self.room_id),
            state_key: Some(self.user_id.to_string()),
            sender: self.user_id,
            event_type: TimelineEventType::RoomMember,
            redacts: None,
            origin_server_ts: residence.now,
        };
        let mut event = draft.into_object(version, residence.parents)?;
        let origin = CanonicalJsonValue::String(residence.server_name.to_string());
        event.insert("origin".to_owned(), origin);
        EventJson::from(event).text()
    }

    /// Completes the template of another server with the content that the user's server chooses,
    /// such as a display name.
    ///
    /// Fails if the template is not that of this request. Only what attaches the event to the graph
    /// and the authorising user are taken from it.
    pub fn complete(
        &self,
        version: &RoomVersion,
        template: &str,
        content: &RawValue,
        now: MilliSecondsSinceUnixEpoch,
        signer: &Signer,
    ) -> Result<Pdu, FormatError> {
        let mut event = EventJson::parse(template, version)?;
        let offered = event.object().get("content").cloned().unwrap_or_default();
        let offered = offered.as_object().cloned().unwrap_or_default();
        self.check_template(event.object(), &offered)?;
        let mut content = canonical_object(content.get())?;
        content.remove(AUTHORISED_VIA);
        for field in ["membership", AUTHORISED_VIA] {
            if let Some(value) = offered.get(field) {
                content.insert(field.to_owned(), value.clone());
            }
        }
        let object = event.object_mut();
        object.retain(|field, _| TEMPLATE_FIELDS.contains(&field.as_str()));
        object.insert("content".to_owned(), CanonicalJsonValue::Object(content));
        object.insert("origin_server_ts".to_owned(), now.get().into());
        hash_and_sign(event, version, signer)
    }

    fn check_template(
        &self,
        event: &CanonicalJsonObject,
        content: &CanonicalJsonObject,
    ) -> Result<(), FormatError> {
        let user_id = self.user_id.as_str();
        for (object, field, expected) in [
            (event, "type", "m.room.member"),
            (event, "room_id", self.room_id.as_str()),
            (event, "sender", user_id),
            (event, "state_key", user_id),
            (content, "membership", self.membership.as_str()),
        ] {
            if object.get(field).and_then(CanonicalJsonValue::as_str) != Some(expected) {
                return Err(FormatError::malformed(format_args!(
                    "`{field}` of the template is not `{expected}`"
                )));
            }
        }
        Ok(())
    }
}

/// Checks that what a server sends in `send_join`, `send_leave` or `send_knock` is the membership
/// of one of its own users. Its signatures are for [`verify_event`](crate::verify_event).
pub fn check_sent(
    event: &Pdu,
    room_id: &RoomId,
    membership: &MembershipState,
    origin: &ServerName,
) -> Result<(), FormatError> {
    check_member(event, room_id, membership, origin)?;
    if event.state_key() == Some(event.sender().as_str()) {
        Ok(())
    } else {
        Err(FormatError::malformed("the sender is not the member"))
    }
}

/// Checks that what a server sends in `invite` is an invitation by one of its users of a user of
/// this server, so that nothing else gets signed. Its signatures are for
/// [`verify_event`](crate::verify_event).
pub fn check_invite(
    event: &Pdu,
    room_id: &RoomId,
    origin: &ServerName,
    own_name: &ServerName,
) -> Result<(), FormatError> {
    check_member(event, room_id, &MembershipState::Invite, origin)?;
    let invited = event
        .state_key()
        .and_then(|key| <&UserId>::try_from(key).ok());
    if invited.is_some_and(|user_id| user_id.server_name() == own_name) {
        Ok(())
    } else {
        Err(FormatError::malformed(
            "the invited user is of another server",
        ))
    }
}

/// Checks the state that comes with an invite or knock: it must have the create event, and all must
/// be of the room. Required since room version 12.
pub fn check_stripped_state(room_id: &RoomId, events: &[Arc<Pdu>]) -> Result<(), FormatError> {
    if events.iter().any(|event| event.room_id() != room_id) {
        return Err(FormatError::malformed(
            "an event of the state is of another room",
        ));
    }
    let is_create =
        |event: &Arc<Pdu>| event.event_type() == "m.room.create" && event.state_key() == Some("");
    if events.iter().any(is_create) {
        Ok(())
    } else {
        Err(FormatError::malformed("the state has no create event"))
    }
}

/// The user who authorises a join to a restricted room, whose server must sign it.
pub fn authorised_via(event: &Pdu) -> Option<OwnedUserId> {
    #[derive(serde::Deserialize)]
    struct Content {
        join_authorised_via_users_server: OwnedUserId,
    }
    let content = event.content_as::<Content>().ok()?;
    (event.membership() == Some(MembershipState::Join))
        .then_some(content.join_authorised_via_users_server)
}

/// Adds this server's signature to an event of another server: to an invite of a local user, or to
/// a join that a local user authorises.
pub fn countersign(
    event: &Pdu,
    version: &RoomVersion,
    signer: &Signer,
) -> Result<Pdu, FormatError> {
    let mut tree = event.tree()?;
    tree.sign(version, signer)?;
    let json = tree.text()?;
    format::limit("event", json.len(), MAX_EVENT_BYTES)?;
    event.with_text(json.into_boxed_str())
}

/// Takes the signatures of another server over from its copy of an event of this server.
///
/// Fails if the copy is another event. The signatures are for
/// [`verify_event`](crate::verify_event).
pub fn merge_signatures(
    event: &Pdu,
    copy: &str,
    version: &RoomVersion,
) -> Result<Pdu, FormatError> {
    let copy = Pdu::parse(copy, version)?;
    let (mut ours, mut theirs) = (event.tree()?, copy.tree()?);
    let own_signatures = ours.object_mut().remove("signatures");
    let signatures = theirs.object_mut().remove("signatures");
    if copy.event_id() != event.event_id() || ours.text()? != theirs.text()? {
        return Err(FormatError::malformed(
            "the copy is not the event that was sent",
        ));
    }
    let of_servers = |signatures: Option<CanonicalJsonValue>| match signatures {
        Some(CanonicalJsonValue::Object(of_servers)) => of_servers,
        _ => CanonicalJsonObject::new(),
    };
    let mut merged = of_servers(signatures);
    merged.extend(of_servers(own_signatures));
    ours.object_mut()
        .insert("signatures".to_owned(), CanonicalJsonValue::Object(merged));
    let json = ours.text()?;
    format::limit("event", json.len(), MAX_EVENT_BYTES)?;
    event.with_text(json.into_boxed_str())
}

fn check_member(
    event: &Pdu,
    room_id: &RoomId,
    membership: &MembershipState,
    origin: &ServerName,
) -> Result<(), FormatError> {
    if event.room_id() != room_id {
        return Err(FormatError::malformed("the event is of another room"));
    }
    // Events of another type, and those without a state key, have no membership.
    if event.membership().as_ref() != Some(membership) {
        return Err(FormatError::malformed(format_args!(
            "the event is not a membership of `{membership}`"
        )));
    }
    if event.sender().server_name() != origin {
        return Err(FormatError::malformed("the sender is of another server"));
    }
    Ok(())
}
