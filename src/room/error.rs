//! What can go wrong in a room.

use std::time::Duration;

use types::{ErrorKind, Fault};

/// An operation on a room was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such room, or the user has no business in it.
    #[error("This room is not known here")]
    UnknownRoom,
    /// The user is not a member of the room.
    #[error("You are not in this room")]
    NotInRoom,
    /// There is no such event that the user may see.
    #[error("There is no such event in this room")]
    UnknownEvent,
    /// There is no event on the wanted side of a time.
    #[error("There is no event in this room in that direction from that time")]
    NothingAtTime,
    /// There is no such state in the room.
    #[error("The room has no such state")]
    UnknownState,
    /// The rules of the room do not allow it.
    #[error(transparent)]
    Denied(#[from] event::Denied),
    /// Something that a rule outside the room's own forbids.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The room's policy server does not recommend the event; in its own words.
    #[error("{0}")]
    NotRecommended(String),
    /// The event has not the right form.
    #[error(transparent)]
    Format(#[from] event::FormatError),
    /// The request makes no sense as it stands.
    #[error("{0}")]
    Invalid(String),
    /// Content of the wrong shape.
    #[error("{0}")]
    BadContent(String),
    /// The room version is not one that this server makes or knows.
    #[error("Room version {0} is not supported")]
    UnsupportedVersion(String),
    /// The initial state does not hold together.
    #[error("The room could not be made as asked: {0}")]
    InvalidState(String),
    /// The alias exists already.
    #[error("The alias {0} is taken")]
    AliasTaken(ruma::OwnedRoomAliasId),
    /// There is no such alias here.
    #[error("There is no such alias here")]
    UnknownAlias,
    /// The alias is not in the room it is claimed for.
    #[error("{0}")]
    BadAlias(String),
    /// The user is joined to as many rooms as the configuration allows.
    #[error(transparent)]
    UserLimit(#[from] types::UserLimitExceeded),
    /// An event is to be delayed for longer than the configuration allows.
    #[error("An event can be delayed for {} ms at most", .0.as_millis())]
    DelayTooLong(Duration),
    /// The user is not subscribed to the thread.
    #[error("You are not subscribed to this thread")]
    NotSubscribed,
    /// The event for which a client would subscribe to a thread is not part of it.
    #[error("The event is not in this thread")]
    NotInThread,
    /// The user has unsubscribed from a thread since the event for which a client would subscribe.
    #[error("You have unsubscribed from this thread since that event")]
    UnsubscribedSince,
    /// There is no such delayed event, or it does not wait any more.
    #[error("There is no such delayed event")]
    UnknownDelayedEvent,
    /// The user is still in the room.
    #[error("You must leave the room before you can forget it")]
    StillInRoom,
    /// A room or user of another server, which is not reached.
    #[error("{0} is on another server, and this server does not federate")]
    Remote(String),
    /// The user cannot join by the rooms that the join rule names.
    #[error("You are in none of the rooms whose members may join")]
    JoinNotGranted,
    /// This server does not know a room whose members may join.
    #[error("Your server must ask another one: this one does not know whether you may join")]
    CannotAuthoriseJoin,
    /// No user of this server may let others in.
    #[error("No user of this server may let you in")]
    CannotGrantJoin,
    /// Events of the room's state must be read before a write can be decided. The write is decided
    /// again then; no caller gets to see it.
    #[error("Events of the room's state must be read first")]
    NotRead,
    /// The server of a user does not speak the room's version.
    #[error("The room has version {0}, which your server does not support")]
    IncompatibleVersion(ruma::RoomVersionId),
    /// Events of another server are not taken, as too many wait to be taken into their room.
    #[error("Too many events of the server or for the room wait already")]
    InboxFull,
    /// What another server says of a room does not hold.
    #[error("The room could not be joined: {0}")]
    InvalidRoom(&'static str),
    /// Another server refused, or was not reached.
    #[error(transparent)]
    Federation(#[from] federation::Error),
    /// Parts of the room's state are not known yet.
    #[error("Your server cannot be given this yet: this one does not know the whole room")]
    PartialState,
    /// The states of the room's branches could not be resolved.
    #[error(transparent)]
    Resolve(event::ResolveError),
    /// The write was not committed.
    #[error(transparent)]
    Commit(#[from] storage::CommitError),
    /// The database failed.
    #[error("The room could not be read")]
    Storage(#[from] storage::Error),
}

impl Error {
    /// The same error, except that strangers do not learn which rooms exist.
    pub(crate) fn hiding_unknown_room(self) -> Self {
        match self {
            Self::UnknownRoom => Self::NotInRoom,
            error => error,
        }
    }
}

impl Fault for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownRoom
            | Self::UnknownEvent
            | Self::NothingAtTime
            | Self::UnknownState
            | Self::UnknownDelayedEvent
            | Self::NotSubscribed
            | Self::UnknownAlias => ErrorKind::NotFound,
            Self::NotInRoom
            | Self::Forbidden(_)
            | Self::NotRecommended(_)
            | Self::Remote(_)
            | Self::JoinNotGranted => ErrorKind::Forbidden,
            Self::Denied(denied) => denied.kind(),
            Self::Format(error) => error.kind(),
            Self::NotInThread => ErrorKind::NotInThread,
            Self::UnsubscribedSince => ErrorKind::ConflictingUnsubscription,
            Self::Invalid(_) => ErrorKind::InvalidParam,
            Self::BadContent(_) => ErrorKind::BadJson,
            Self::UnsupportedVersion(_) => ErrorKind::UnsupportedRoomVersion,
            Self::InvalidState(_) => ErrorKind::InvalidRoomState,
            Self::AliasTaken(_) => ErrorKind::RoomInUse,
            Self::BadAlias(_) => ErrorKind::BadAlias,
            Self::UserLimit(error) => error.kind(),
            Self::StillInRoom | Self::DelayTooLong(_) => ErrorKind::Unknown,
            Self::CannotAuthoriseJoin => ErrorKind::UnableToAuthoriseJoin,
            Self::CannotGrantJoin => ErrorKind::UnableToGrantJoin,
            Self::NotRead => ErrorKind::Internal,
            Self::IncompatibleVersion(_) => ErrorKind::IncompatibleRoomVersion,
            Self::InboxFull => ErrorKind::Unavailable,
            Self::InvalidRoom(_) => ErrorKind::BadGateway,
            Self::Federation(error) => remote_kind(error),
            Self::PartialState => ErrorKind::UnableDueToPartialState,
            Self::Resolve(error) => error.kind(),
            Self::Commit(error) => error.kind(),
            Self::Storage(error) => error.kind(),
        }
    }
}

/// What a client learns when another server was asked in its place: what that server said of it.
fn remote_kind(error: &federation::Error) -> ErrorKind {
    let federation::Error::Remote {
        status, errcode, ..
    } = error
    else {
        return error.kind();
    };
    match (status, &**errcode) {
        (_, "M_INCOMPATIBLE_ROOM_VERSION") => ErrorKind::IncompatibleRoomVersion,
        (_, "M_UNABLE_TO_AUTHORISE_JOIN") => ErrorKind::UnableToAuthoriseJoin,
        (_, "M_UNABLE_TO_GRANT_JOIN") => ErrorKind::UnableToGrantJoin,
        (_, "M_INVITE_BLOCKED") => ErrorKind::InviteBlocked,
        (403, _) => ErrorKind::Forbidden,
        _ => error.kind(),
    }
}
