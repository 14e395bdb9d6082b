//! Creating rooms.
//!
//! Spec: client-server, "Creation": the order of the events of a new room.

use event::RoomVersion;
use live::RoomState;
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, RoomVersionId, UserId,
    events::StateEventType,
};
use serde_json::{Map, Value, value::RawValue};
use storage::{
    CommitError,
    rooms::{NewRoom, RoomStatus},
};
use types::RoomNid;

use crate::{
    Error, MembershipChange, Profile, Rooms, Sender,
    append::{AppendContext, EventAppender, nids_for},
    head::Head,
};

mod creation;
mod power_levels;
pub(crate) mod timestamps;

pub(crate) use creation::Creation;

/// Attempts to find a timestamp at which no other process creates the same room.
const ATTEMPTS: usize = 8;
/// The most users that may be invited with the creation.
pub(crate) const MAX_INVITES: usize = 500;
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

/// What is known of a new room before its first event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewRoomRequest<'a> {
    /// Who makes it.
    pub(crate) creator: &'a UserId,
    /// Its version.
    pub(crate) version: &'a RoomVersion,
    /// How many events it begins with at the most.
    pub(crate) events: usize,
    /// Whether it is listed in the public room directory.
    pub(crate) in_directory: bool,
    /// The alias to make for it.
    pub(crate) alias: Option<&'a RoomAliasId>,
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
        let new = NewRoomRequest {
            creator,
            version: &version,
            // Create, member, power levels, alias, three of the preset, name, topic.
            events: 9 + request.initial_state.len() + request.invite.len(),
            in_directory: request.in_directory,
            alias: request.alias.as_deref(),
        };
        let write = |room: &mut Creation<'_, '_>| room.write_request(&profile, &request);
        let room_id = self.create_with(&new, &write).await?;
        self.invite_with_creation(&room_id, sender, &request).await;
        Ok(room_id)
    }

    /// Creates a room with the events that `write` adds; it is called again when another process
    /// makes a room of the same id.
    pub(crate) async fn create_with(
        &self,
        new: &NewRoomRequest<'_>,
        write: &(impl Fn(&mut Creation<'_, '_>) -> Result<(), Error> + Sync),
    ) -> Result<OwnedRoomId, Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let result = self.create_now(new, write).await;
            match (result, new.alias) {
                // The id of the room is the hash of an event that another process made as well.
                (Err(Error::Commit(CommitError::Failed(error))), _)
                    if attempts < ATTEMPTS && error.violates("rooms_room_id_key") => {}
                (Err(Error::Commit(CommitError::Failed(error))), Some(alias))
                    if error.violates("room_aliases_pkey") =>
                {
                    return Err(Error::AliasTaken(alias.to_owned()));
                }
                (result, _) => return result,
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
        new: &NewRoomRequest<'_>,
        write: &(impl Fn(&mut Creation<'_, '_>) -> Result<(), Error> + Sync),
    ) -> Result<OwnedRoomId, Error> {
        let nids = self.0.nids.allocate(nids_for(new.events) + 1).await?;
        let (room_nid, nids) = nids.split_first().ok_or(Error::UnknownRoom)?;
        let room_id = self.new_room_id()?;
        let version = Some(new.version.id().clone());
        let state = RoomState::new(RoomNid(*room_nid), room_id, version);
        let head = Head::new(state.into())?;
        let context = AppendContext {
            now: self.0.creation_timestamps.next(&self.0.clock),
            ..self.append_context()
        };
        let mut appender = EventAppender::new(head, context, nids.to_vec());
        write(&mut Creation::new(&mut appender, new.creator))?;
        let room_id = appender.room_id().clone();
        appender.create(NewRoom {
            room_id: room_id.clone(),
            version: new.version.id().clone(),
            creator: new.creator.to_owned(),
            in_directory: new.in_directory,
            alias: new.alias.map(ToOwned::to_owned),
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
