//! Rooms across servers: users of this server join rooms of others, and users of others join rooms
//! here.
//!
//! Spec: server-server, "Joining Rooms".

use std::collections::BTreeMap;

use event::{Pdu, RoomVersion, acl::ServerAcl, handshake::MembershipRequest};
use federation::Template;
use ruma::{OwnedServerName, RoomId, ServerName, UserId, events::room::member::MembershipState};
use serde_json::{Map, Value};
use storage::memberships;

use crate::{Error, Profile, Rooms, content::raw, head::Head};

mod accept;
mod import;
mod invite;
mod join;
mod leave;
mod outside;
mod removed;
mod respond;
mod template;
mod third_party;
mod write;

pub use respond::{AcceptedJoin, SentEvent};
pub use third_party::ThirdPartyInvite;

/// The most servers that are asked to let a user in.
const MAX_CANDIDATES: usize = 8;

/// A change of the own membership that another server must accept.
#[derive(Clone, Copy, Debug)]
struct OwnMembership<'a> {
    room_id: &'a RoomId,
    user_id: &'a UserId,
    membership: &'static str,
    profile: &'a Profile,
    /// Further content.
    extra: &'a Map<String, Value>,
}

impl Rooms {
    /// Whether this server decides on a room by what it knows: a user of it is in the room, or nobody
    /// is in it any more.
    pub(crate) async fn takes_part(&self, room_id: &RoomId) -> Result<bool, Error> {
        match self.head(room_id).await {
            Ok(head) => Ok(self.takes_part_in(Some(&head))),
            Err(Error::UnknownRoom) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The same of a room with this head.
    pub(crate) fn takes_part_in(&self, head: Option<&Head>) -> bool {
        let Some(head) = head else {
            return false;
        };
        // Where parts of the state are not known, there are members who are not.
        if !head.state.is_partial() && joined(head).next().is_none() {
            let create = head.state.core().get("m.room.create", "");
            return create.is_some_and(|create| !outside::is_stripped(create));
        }
        self.is_resident(head)
    }

    /// Whether a user of this server is in a room, so that it may act for the room.
    pub(crate) fn is_resident(&self, head: &Head) -> bool {
        joined(head).any(|user_id| self.is_local(user_id))
    }

    /// The head of a room that a user of this server is in, for another server that may take part in
    /// it.
    async fn resident_head(&self, origin: &ServerName, room_id: &RoomId) -> Result<Head, Error> {
        let head = self.head(room_id).await?;
        if !self.is_resident(&head) {
            return Err(Error::UnknownRoom);
        }
        if may_take_part(&head, origin) {
            Ok(head)
        } else {
            Err(Error::Forbidden("The room does not allow your server"))
        }
    }

    /// The servers that may let a user into a room: those that the client names, and that of whoever
    /// invited the user. If the client names none, also that of the room's id and those of members,
    /// as far as they are known.
    pub(crate) async fn candidates(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
        via: &[OwnedServerName],
    ) -> Result<Vec<OwnedServerName>, Error> {
        let membership = {
            let mut db = self.0.database.acquire().await?;
            memberships::find(&mut db, room_id, user_id).await?
        };
        let inviter = membership
            .filter(|found| found.membership == MembershipState::Invite)
            .map(|found| found.sender.server_name().to_owned());
        let federation = &self.0.federation;
        let named = via.iter().map(|server| &**server);
        let named = named.chain(inviter.as_deref());
        let mut candidates = if federation
            .candidates(via.iter().map(|server| &**server))
            .is_empty()
        {
            let head = match self.head(room_id).await {
                Ok(head) => Some(head),
                Err(Error::UnknownRoom) => None,
                Err(error) => return Err(error),
            };
            let create = head.as_ref().and_then(|head| {
                let create = head.state.core().get("m.room.create", "")?;
                Some(create.sender().server_name())
            });
            let members = head.iter().flat_map(joined).map(UserId::server_name);
            let stated = head.iter().flat_map(|head| head.state.stated_servers());
            let likely = room_id.server_name().into_iter().chain(create);
            federation.candidates(named.chain(likely).chain(members).chain(stated))
        } else {
            federation.candidates(named)
        };
        candidates.truncate(MAX_CANDIDATES);
        Ok(candidates)
    }

    /// Completes and signs the event that another server has drafted.
    fn complete(
        &self,
        change: OwnMembership<'_>,
        template: &Template,
    ) -> Result<(RoomVersion, Pdu), Error> {
        let version = RoomVersion::of(&template.version)
            .ok_or_else(|| Error::UnsupportedVersion(template.version.to_string()))?;
        let request = MembershipRequest {
            room_id: change.room_id.to_owned(),
            user_id: change.user_id.to_owned(),
            membership: change.membership.into(),
        };
        let content = change
            .profile
            .member_content(change.membership, change.extra.clone());
        let (text, content) = (template.event.get(), raw(&content)?);
        let (now, signer) = (self.0.clock.now(), &self.0.signer);
        let pdu = request.complete(&version, text, &content, now, signer)?;
        Ok((version, pdu))
    }
}

/// Whether a server may take part in a room, by the room's server ACL.
pub(crate) fn may_take_part(head: &Head, server: &ServerName) -> bool {
    ServerAcl::of(head.state.core()).allows(server)
}

/// The servers with users in a room, and how many these are.
pub(crate) fn joined_by_server(head: &Head) -> BTreeMap<&ServerName, usize> {
    let mut servers = BTreeMap::new();
    for user_id in joined(head) {
        *servers.entry(user_id.server_name()).or_default() += 1;
    }
    servers
}

/// The users who are in a room.
pub(crate) fn joined(head: &Head) -> impl Iterator<Item = &UserId> {
    let members = head.state.members().iter();
    let joined = members.filter(|(_, member)| member.membership() == MembershipState::Join);
    joined.filter_map(|(user_id, _)| <&UserId>::try_from(user_id).ok())
}
