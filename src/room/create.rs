//! Creating rooms.
//!
//! Spec: client-server, "Creation": the order of the events of a new room.

use std::sync::atomic::{AtomicU64, Ordering};

use event::RoomVersion;
use live::RoomState;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId,
    UInt, UserId,
    events::{StateEventType, TimelineEventType},
};
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};
use storage::{
    CommitError,
    rooms::{NewRoom, RoomStatus},
};
use types::{Clock, RoomNid};

use crate::{
    Error, MembershipChange, Profile, Rooms, Sender,
    append::{AppendContext, EventAppender, NewEvent, nids_for},
    head::Head,
};

mod power_levels;

/// Attempts to find a timestamp at which no other process creates the same room.
const ATTEMPTS: usize = 8;
/// The most users that may be invited with the creation.
const MAX_INVITES: usize = 500;
/// The most events of initial state.
const MAX_INITIAL_STATE: usize = 500;

/// A bundle of settings for a new room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Invited users join, history is shared.
    PrivateChat,
    /// As a private chat; invited users have the creator's power.
    TrustedPrivateChat,
    /// Everybody joins, history is shared, guests stay out.
    PublicChat,
}

/// A request to create a room.
#[derive(Clone, Debug)]
pub struct CreateRoom {
    /// The room version; the server's default if none is asked for.
    pub version: Option<RoomVersionId>,
    /// The settings to start from.
    pub preset: Preset,
    /// Whether the room is listed in the public room directory.
    pub in_directory: bool,
    /// The alias to make for it.
    pub alias: Option<OwnedRoomAliasId>,
    /// Its name.
    pub name: Option<String>,
    /// Its topic.
    pub topic: Option<String>,
    /// Further content of the create event.
    pub creation_content: Map<String, Value>,
    /// Overrides of the power levels' content.
    pub power_level_content_override: Map<String, Value>,
    /// State set after the preset's: type, state key, content.
    pub initial_state: Vec<(StateEventType, String, Box<RawValue>)>,
    /// Whom to invite, with their profiles.
    pub invite: Vec<(OwnedUserId, Profile)>,
    /// Whether the invitations are to a direct chat.
    pub is_direct: bool,
}

/// Timestamps for create events, each used once: since room version 12 two create events of the
/// same content, user and millisecond would be one room.
#[derive(Debug, Default)]
pub(crate) struct CreationTimestamps(AtomicU64);

impl CreationTimestamps {
    fn next(&self, clock: &Clock) -> MilliSecondsSinceUnixEpoch {
        let now = clock.now_ms();
        let later = |last: u64| Some(now.max(last + 1));
        let last = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, later)
            .unwrap_or_default();
        let next = UInt::try_from(now.max(last + 1)).unwrap_or(UInt::MAX);
        MilliSecondsSinceUnixEpoch(next)
    }
}

impl Rooms {
    /// Creates a room, atomically.
    #[tracing::instrument(name = "room.create", skip_all, fields(user.id = %sender.user_id), err(level = "debug"))]
    pub async fn create(
        &self,
        sender: &Sender,
        profile: Profile,
        request: CreateRoom,
    ) -> Result<OwnedRoomId, Error> {
        let creator = &*sender.user_id;
        let version = request.version.as_ref().unwrap_or(self.default_version());
        let version = RoomVersion::of(version)
            .ok_or_else(|| Error::UnsupportedVersion(version.to_string()))?;
        self.check_request(&request).await?;
        self.check_room_limit(creator).await?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let result = self.create_now(creator, &profile, &request, &version).await;
            match (result, &request.alias) {
                // The id of the room is the hash of an event that another process made as well.
                (Err(Error::Commit(CommitError::Failed(error))), _)
                    if attempts < ATTEMPTS && error.violates("rooms_room_id_key") => {}
                (Err(Error::Commit(CommitError::Failed(error))), Some(alias))
                    if error.violates("room_aliases_pkey") =>
                {
                    return Err(Error::AliasTaken(alias.clone()));
                }
                (result, _) => {
                    let room_id = result?;
                    self.invite_with_creation(&room_id, sender, &request).await;
                    return Ok(room_id);
                }
            }
        }
    }

    /// Invites the users of other servers. The room is there, whether they are reached or not.
    async fn invite_with_creation(&self, room_id: &RoomId, sender: &Sender, request: &CreateRoom) {
        for (user_id, profile) in &request.invite {
            if self.is_local(user_id) {
                continue;
            }
            let change = MembershipChange::Invite {
                profile: profile.clone(),
                is_direct: request.is_direct,
            };
            let invited = self.change_membership(room_id, sender, user_id, change, None);
            if let Err(error) = invited.await {
                tracing::info!(room.id = %room_id, %error, "A user was not invited to a new room");
            }
        }
    }

    async fn create_now(
        &self,
        creator: &UserId,
        profile: &Profile,
        request: &CreateRoom,
        version: &RoomVersion,
    ) -> Result<OwnedRoomId, Error> {
        // Create, member, power levels, alias, three of the preset, name, topic.
        let events = 9 + request.initial_state.len() + request.invite.len();
        let nids = self.0.nids.allocate(nids_for(events) + 1).await?;
        let (room_nid, nids) = nids.split_first().ok_or(Error::UnknownRoom)?;
        let room_id = self.new_room_id()?;
        let state = RoomState::new(RoomNid(*room_nid), room_id, Some(version.id().clone()));
        let head = Head::new(state.into())?;
        let context = AppendContext {
            now: self.0.creation_timestamps.next(&self.0.clock),
            ..self.append_context()
        };
        let mut appender = EventAppender::new(head, context, nids.to_vec());
        let mut room = Creation {
            appender: &mut appender,
            creator,
            request,
        };
        room.write(profile)?;
        let room_id = appender.room_id().clone();
        appender.create(NewRoom {
            room_id: room_id.clone(),
            version: appender.head().version.id().clone(),
            creator: creator.to_owned(),
            in_directory: request.in_directory,
            alias: request.alias.clone(),
            status: RoomStatus::Active,
            is_known: false,
        });
        self.create_room(appender).await?;
        Ok(room_id)
    }

    async fn check_request(&self, request: &CreateRoom) -> Result<(), Error> {
        if request.invite.len() > MAX_INVITES || request.initial_state.len() > MAX_INITIAL_STATE {
            return Err(Error::Invalid(format!(
                "At most {MAX_INVITES} invitations and {MAX_INITIAL_STATE} events of initial state are allowed"
            )));
        }
        for (user_id, _) in &request.invite {
            self.0.federation.policy().check(user_id.server_name())?;
        }
        let Some(alias) = &request.alias else {
            return Ok(());
        };
        let mut db = self.0.database.acquire().await?;
        match storage::rooms::find_alias(&mut db, alias).await? {
            Some(_) => Err(Error::AliasTaken(alias.clone())),
            None => Ok(()),
        }
    }

    /// A fresh id for a room whose version does not derive it from the create event.
    fn new_room_id(&self) -> Result<OwnedRoomId, Error> {
        let letters = types::random::letters(18).map_err(|_| {
            storage::Error::Corrupt("the operating system gave no randomness".to_owned())
        })?;
        OwnedRoomId::try_from(format!("!{letters}:{}", self.0.settings.server_name))
            .map_err(|error| Error::Invalid(error.to_string()))
    }
}

/// A room being written, event by event, in the order of the specification.
struct Creation<'a, 'p, 's> {
    appender: &'p mut EventAppender<'s>,
    creator: &'a UserId,
    request: &'a CreateRoom,
}

impl Creation<'_, '_, '_> {
    fn write(&mut self, profile: &Profile) -> Result<(), Error> {
        self.create_event()?;
        let content = profile.member_content("join", Map::new());
        self.state(
            TimelineEventType::RoomMember,
            self.creator.as_str().to_owned(),
            &content,
        )?;
        let levels = self.power_levels();
        self.state(TimelineEventType::RoomPowerLevels, String::new(), &levels)?;
        if let Some(alias) = &self.request.alias {
            self.state(
                TimelineEventType::RoomCanonicalAlias,
                String::new(),
                &json!({ "alias": alias }),
            )?;
        }
        self.preset()?;
        for (event_type, state_key, content) in &self.request.initial_state {
            self.raw(
                event_type.to_string().into(),
                state_key.clone(),
                content.clone(),
            )?;
        }
        if let Some(name) = &self.request.name {
            self.state(
                TimelineEventType::RoomName,
                String::new(),
                &json!({ "name": name }),
            )?;
        }
        if let Some(topic) = &self.request.topic {
            let content = json!({ "topic": topic, "m.topic": { "m.text": [{ "body": topic }] } });
            self.state(TimelineEventType::RoomTopic, String::new(), &content)?;
        }
        let server_name = self.creator.server_name();
        // Users of other servers are invited when the room is there.
        let of_server =
            |(user_id, _): &&(OwnedUserId, Profile)| user_id.server_name() == server_name;
        for (user_id, profile) in self.request.invite.iter().filter(of_server) {
            let mut extra = Map::new();
            if self.request.is_direct {
                extra.insert("is_direct".to_owned(), Value::Bool(true));
            }
            let content = profile.member_content("invite", extra);
            self.state(TimelineEventType::RoomMember, user_id.to_string(), &content)?;
        }
        Ok(())
    }

    fn create_event(&mut self) -> Result<(), Error> {
        let version = self.appender.head().version.clone();
        let mut content = self.request.creation_content.clone();
        content.insert("room_version".to_owned(), json!(version.id()));
        if version.creator_is_sender() {
            content.remove("creator");
        } else {
            content.insert("creator".to_owned(), json!(self.creator));
        }
        if version.additional_creators() && self.request.preset == Preset::TrustedPrivateChat {
            self.add_creators(&mut content)?;
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

    /// Spec: client-server, "createRoom": with the preset `trusted_private_chat` the invited users
    /// become additional creators where the room version knows these.
    fn add_creators(&self, content: &mut Map<String, Value>) -> Result<(), Error> {
        let creators = content
            .entry("additional_creators")
            .or_insert_with(|| json!([]));
        let Value::Array(creators) = creators else {
            return Err(Error::BadContent(
                "`additional_creators` is a list of users".to_owned(),
            ));
        };
        for (user_id, _) in &self.request.invite {
            let user_id = json!(user_id);
            if !creators.contains(&user_id) {
                creators.push(user_id);
            }
        }
        Ok(())
    }

    fn preset(&mut self) -> Result<(), Error> {
        let public = self.request.preset == Preset::PublicChat;
        let settings = [
            (
                "m.room.join_rules",
                json!({ "join_rule": if public { "public" } else { "invite" } }),
            ),
            (
                "m.room.history_visibility",
                json!({ "history_visibility": "shared" }),
            ),
            (
                "m.room.guest_access",
                json!({ "guest_access": if public { "forbidden" } else { "can_join" } }),
            ),
        ];
        for (event_type, content) in settings {
            // What the client sets itself need not be set twice.
            let given = self
                .request
                .initial_state
                .iter()
                .any(|(given, state_key, _)| {
                    given.to_string() == event_type && state_key.is_empty()
                });
            if !given {
                self.state(event_type.into(), String::new(), &content)?;
            }
        }
        Ok(())
    }

    fn state(
        &mut self,
        event_type: TimelineEventType,
        state_key: String,
        content: &Value,
    ) -> Result<(), Error> {
        self.raw(event_type, state_key, raw(content)?)
    }

    fn raw(
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

/// Text of a value that was built here.
pub(crate) fn raw(value: &impl Serialize) -> Result<Box<RawValue>, Error> {
    serde_json::value::to_raw_value(value).map_err(|error| Error::BadContent(error.to_string()))
}
