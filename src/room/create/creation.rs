//! The events of a new room, one after the other.
//!
//! Spec: client-server, "Creation".

use ruma::{OwnedUserId, UserId, events::TimelineEventType};
use serde_json::{Map, Value, json, value::RawValue};

use super::{CreateRoom, Preset, power_levels::power_levels};
use crate::{
    Error, Profile,
    append::{EventAppender, NewEvent},
    content::raw,
};

/// A room being written, event by event.
pub(crate) struct Creation<'a, 's> {
    appender: &'a mut EventAppender<'s>,
    creator: &'a UserId,
}

impl<'a, 's> Creation<'a, 's> {
    /// A room without events.
    pub(super) fn new(appender: &'a mut EventAppender<'s>, creator: &'a UserId) -> Self {
        Self { appender, creator }
    }

    /// Writes the room that a client asks for, in the order of the specification.
    pub(super) fn write_request(
        &mut self,
        profile: &Profile,
        request: &CreateRoom,
    ) -> Result<(), Error> {
        self.create_event(self.create_content(request)?)?;
        self.join(profile)?;
        let levels = power_levels(&self.appender.head().version, self.creator, request);
        self.set(TimelineEventType::RoomPowerLevels, &levels)?;
        if let Some(alias) = &request.alias {
            let content = json!({ "alias": alias });
            self.set(TimelineEventType::RoomCanonicalAlias, &content)?;
        }
        self.preset(request)?;
        for (event_type, state_key, content) in &request.initial_state {
            self.raw(
                event_type.to_string().into(),
                state_key.clone(),
                content.clone(),
            )?;
        }
        if let Some(name) = &request.name {
            self.set(TimelineEventType::RoomName, &json!({ "name": name }))?;
        }
        if let Some(topic) = &request.topic {
            let content = json!({ "topic": topic, "m.topic": { "m.text": [{ "body": topic }] } });
            self.set(TimelineEventType::RoomTopic, &content)?;
        }
        let server_name = self.creator.server_name();
        // Users of other servers are invited when the room is there.
        let of_server =
            |(user_id, _): &&(OwnedUserId, Profile)| user_id.server_name() == server_name;
        for (user_id, profile) in request.invite.iter().filter(of_server) {
            let mut extra = Map::new();
            if request.is_direct {
                extra.insert("is_direct".to_owned(), Value::Bool(true));
            }
            let content = profile.member_content("invite", extra);
            self.state(TimelineEventType::RoomMember, user_id.to_string(), &content)?;
        }
        Ok(())
    }

    /// What a client asks the create event to hold.
    fn create_content(&self, request: &CreateRoom) -> Result<Map<String, Value>, Error> {
        let mut content = request.creation_content.clone();
        let version = &self.appender.head().version;
        if version.additional_creators() && request.preset == Preset::TrustedPrivateChat {
            add_creators(&mut content, request)?;
        }
        Ok(content)
    }

    /// Adds the create event; what every create event holds need not be in the content.
    pub(crate) fn create_event(&mut self, mut content: Map<String, Value>) -> Result<(), Error> {
        let version = self.appender.head().version.clone();
        content.insert("room_version".to_owned(), json!(version.id()));
        if version.creator_is_sender() {
            content.remove("creator");
        } else {
            content.insert("creator".to_owned(), json!(self.creator));
        }
        let event = NewEvent::state(
            self.creator.to_owned(),
            TimelineEventType::RoomCreate,
            "",
            raw(&Value::Object(content))?,
        );
        let pdu = self.appender.build_create_event(&event)?;
        event::auth::check_state_independent(&version, &pdu, &|_| None)
            .map_err(|denied| Error::BadContent(denied.to_string()))?;
        self.appender.set_room_id_from_create(&pdu);
        self.appender.add(pdu.into(), Vec::new(), event)?;
        Ok(())
    }

    /// Adds the creator's own member event.
    pub(crate) fn join(&mut self, profile: &Profile) -> Result<(), Error> {
        let content = profile.member_content("join", Map::new());
        let creator = self.creator.as_str().to_owned();
        self.state(TimelineEventType::RoomMember, creator, &content)
    }

    fn preset(&mut self, request: &CreateRoom) -> Result<(), Error> {
        let public = request.preset == Preset::PublicChat;
        let mut settings = vec![
            (
                "m.room.join_rules",
                json!({ "join_rule": if public { "public" } else { "invite" } }),
            ),
            (
                "m.room.history_visibility",
                json!({ "history_visibility": "shared" }),
            ),
        ];
        if !public {
            // Without the event guests are forbidden.
            settings.push(("m.room.guest_access", json!({ "guest_access": "can_join" })));
        }
        for (event_type, content) in settings {
            // What the client sets itself need not be set twice.
            let given = request.initial_state.iter().any(|(given, state_key, _)| {
                given.to_string() == event_type && state_key.is_empty()
            });
            if !given {
                self.set(event_type.into(), &content)?;
            }
        }
        Ok(())
    }

    /// Adds a state event with an empty state key.
    pub(crate) fn set(
        &mut self,
        event_type: TimelineEventType,
        content: &Value,
    ) -> Result<(), Error> {
        self.state(event_type, String::new(), content)
    }

    fn state(
        &mut self,
        event_type: TimelineEventType,
        state_key: String,
        content: &Value,
    ) -> Result<(), Error> {
        self.raw(event_type, state_key, raw(content)?)
    }

    /// Adds a state event.
    pub(crate) fn raw(
        &mut self,
        event_type: TimelineEventType,
        state_key: String,
        content: Box<RawValue>,
    ) -> Result<(), Error> {
        let name = event_type.to_string();
        let event = NewEvent::state(self.creator.to_owned(), event_type, state_key, content);
        match self.appender.append(event) {
            Ok(_) => Ok(()),
            Err(Error::Denied(denied)) => Err(Error::InvalidState(format!("{name}: {denied}"))),
            Err(error) => Err(error),
        }
    }
}

/// Spec: client-server, "createRoom": with the preset `trusted_private_chat` the invited users
/// become additional creators where the room version knows these.
fn add_creators(content: &mut Map<String, Value>, request: &CreateRoom) -> Result<(), Error> {
    let creators = content
        .entry("additional_creators")
        .or_insert_with(|| json!([]));
    let Value::Array(creators) = creators else {
        return Err(Error::BadContent(
            "`additional_creators` is a list of users".to_owned(),
        ));
    };
    for (user_id, _) in &request.invite {
        let user_id = json!(user_id);
        if !creators.contains(&user_id) {
            creators.push(user_id);
        }
    }
    Ok(())
}
