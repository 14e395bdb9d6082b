//! Showing rooms to those who are not in them, if they could be.
//!
//! Spec: client-server, "Room previews" and "Spaces"; server-server, "Spaces".

use std::sync::Arc;

use event::{
    RoomSummary,
    space::{SPACE_CHILD, SpaceChild, SpaceRoom},
};
use federation::Hierarchy;
use ruma::{
    OwnedRoomId, OwnedServerName, RoomId, ServerName, UserId, events::room::member::MembershipState,
};
use serde::Serialize;

use crate::{Error, Rooms, head::Head, serve::is_of};

/// The most rooms in a space.
const MAX_CHILDREN: usize = 1_000;
/// The most servers that are asked about a room.
const MAX_SERVERS: usize = 3;

/// A room as a user may see it before joining.
#[derive(Clone, Debug, Serialize)]
pub struct RoomPreview {
    /// The room.
    #[serde(flatten)]
    pub summary: RoomSummary,
    /// The user's membership; none if nobody is logged in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub membership: Option<MembershipState>,
}

/// Who wants to see a room.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Requester<'a> {
    /// Somebody who is not logged in.
    Anybody,
    /// A user of this server.
    User(&'a UserId),
    /// Another server, for any of its users.
    Server(&'a ServerName),
}

impl Requester<'_> {
    /// Whether the user, or a user of the server, has one of the memberships.
    fn has_membership(self, head: &Head, memberships: &[MembershipState]) -> bool {
        let mut members = head.state.members().iter();
        match self {
            Self::Anybody => false,
            Self::User(user_id) => memberships.contains(&head.state.membership(user_id)),
            Self::Server(server) => members.any(|(user_id, member)| {
                memberships.contains(&member.membership()) && is_of(user_id, server)
            }),
        }
    }
}

impl Rooms {
    /// A room that a user is in, may join or may read, by its servers if this one does not take part
    /// in it. Without a user only rooms of this server are shown.
    #[tracing::instrument(name = "room.preview", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn preview(
        &self,
        room_id: &RoomId,
        user_id: Option<&UserId>,
        via: &[OwnedServerName],
    ) -> Result<RoomPreview, Error> {
        let summary = match (self.local_head(room_id).await?, user_id) {
            (Some(head), _) => {
                let requester = user_id.map_or(Requester::Anybody, Requester::User);
                let summary = summary(&head);
                let is_shown = self.shows(&head, &summary, requester).await?;
                is_shown.then_some(summary)
            }
            (None, Some(user_id)) => self.remote_summary(room_id, user_id, via).await?,
            (None, None) => None,
        };
        let membership = match user_id {
            Some(user_id) => Some(self.known_membership(room_id, user_id).await?),
            None => None,
        };
        Ok(RoomPreview {
            summary: summary.ok_or(Error::UnknownRoom)?,
            membership,
        })
    }

    /// The summary of a room that this server does not take part in.
    async fn remote_summary(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
        via: &[OwnedServerName],
    ) -> Result<Option<RoomSummary>, Error> {
        let servers = self.candidates(room_id, user_id, via).await?;
        if let Some(hierarchy) = self.ask_servers(room_id, &servers).await {
            let summary = &hierarchy.room.summary;
            let is_shown = self.shows_remote(summary, user_id).await?;
            return Ok(is_shown.then(|| summary.clone()));
        }
        // An invited user knows a little of the room.
        let head = match self.head(room_id).await {
            Ok(head) => head,
            Err(Error::UnknownRoom) => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_invited = head.state.membership(user_id) == MembershipState::Invite;
        Ok(is_invited.then(|| summary(&head)))
    }

    /// The head of a room that this server takes part in.
    pub(crate) async fn local_head(&self, room_id: &RoomId) -> Result<Option<Head>, Error> {
        match self.head(room_id).await {
            Ok(head) => Ok(Some(head).filter(|head| self.takes_part_in(Some(head)))),
            // One of a version that is not spoken here is as good as unknown.
            Err(Error::UnknownRoom | Error::UnsupportedVersion(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A user's membership in any room; `Leave` if nothing is known of it.
    async fn known_membership(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<MembershipState, Error> {
        match self.head(room_id).await {
            Ok(head) => Ok(head.state.membership(user_id)),
            Err(Error::UnknownRoom | Error::UnsupportedVersion(_)) => Ok(MembershipState::Leave),
            Err(error) => Err(error),
        }
    }

    /// What one of the servers says of a room and the rooms in it; none if all of them fail.
    pub(crate) async fn ask_servers(
        &self,
        room_id: &RoomId,
        servers: &[OwnedServerName],
    ) -> Option<Arc<Hierarchy>> {
        for server in servers.iter().take(MAX_SERVERS) {
            match self.0.federation.hierarchy(server, room_id).await {
                Ok(hierarchy) => return Some(hierarchy),
                Err(error) => {
                    tracing::debug!(room.id = %room_id, server.name = %server, %error, "A server does not show a room");
                }
            }
        }
        None
    }

    /// Whether a room that this server takes part in is shown to a user or server: they are in it,
    /// may join it or ask to, or may read it.
    pub(crate) async fn shows(
        &self,
        head: &Head,
        summary: &RoomSummary,
        requester: Requester<'_>,
    ) -> Result<bool, Error> {
        const WELCOME: [MembershipState; 2] = [MembershipState::Join, MembershipState::Invite];
        match requester {
            Requester::Server(server) if !may_take_part(head, server) => return Ok(false),
            Requester::User(user_id)
                if head.state.membership(user_id) == MembershipState::Ban
                    && !summary.world_readable =>
            {
                return Ok(false);
            }
            _ => {}
        }
        if summary.is_open() || requester.has_membership(head, &WELCOME) {
            return Ok(true);
        }
        self.is_in_any(&summary.allowed_rooms, requester).await
    }

    /// Whether a room that another server describes is shown to a user.
    pub(crate) async fn shows_remote(
        &self,
        summary: &RoomSummary,
        user_id: &UserId,
    ) -> Result<bool, Error> {
        if summary.is_open() {
            return Ok(true);
        }
        match self.known_membership(&summary.room_id, user_id).await? {
            MembershipState::Join | MembershipState::Invite => return Ok(true),
            MembershipState::Ban => return Ok(false),
            _ => {}
        }
        let requester = Requester::User(user_id);
        self.is_in_any(&summary.allowed_rooms, requester).await
    }

    /// Whether the user, or a user of the server, is in one of the rooms.
    async fn is_in_any(
        &self,
        rooms: &[OwnedRoomId],
        requester: Requester<'_>,
    ) -> Result<bool, Error> {
        for room_id in rooms {
            let head = self.local_head(room_id).await?;
            if head.is_some_and(|head| requester.has_membership(&head, &[MembershipState::Join])) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A room that this server takes part in with the rooms in it, which are none unless it is a space.
    pub(crate) async fn space_room(
        &self,
        head: &Head,
        summary: RoomSummary,
        suggested_only: bool,
    ) -> Result<SpaceRoom, Error> {
        let mut children = Vec::new();
        if summary.is_space() {
            let nids = head.state.of_type(SPACE_CHILD).map(|(_, nid)| nid);
            let events = self.0.live.events(nids).await?;
            let named = events.values().filter_map(|pdu| SpaceChild::of(pdu));
            children.extend(named.filter(|child| child.suggested || !suggested_only));
            children.sort_unstable();
            children.truncate(MAX_CHILDREN);
        }
        Ok(SpaceRoom { summary, children })
    }
}

/// A room in a few words.
pub(crate) fn summary(head: &Head) -> RoomSummary {
    RoomSummary::of(
        head.state.room_id().clone(),
        Some(head.version.id().clone()),
        head.state.core(),
        head.state.member_counts().joined,
    )
}

/// Whether users of a server may come into a room.
fn may_take_part(head: &Head, server: &ServerName) -> bool {
    event::federates(head.state.core()) && crate::remote::may_take_part(head, server)
}
