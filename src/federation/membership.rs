//! Requests by which users of this server come into rooms of other servers, and out of them, and
//! users of others into rooms here.
//!
//! Spec: server-server, "Joining Rooms", "Knocking upon a room", "Inviting to a room", "Leaving
//! Rooms (Rejecting Invites)".

use std::{collections::BTreeSet, time::Duration};

use event::{Pdu, RoomVersion};
use ruma::{
    OwnedServerName, RoomId, RoomVersionId, ServerName, UserId,
    api::federation::{
        membership::{
            RawStrippedState, create_invite, create_join_event, create_knock_event,
            create_leave_event, prepare_join_event, prepare_knock_event, prepare_leave_event,
        },
        thirdparty::exchange_invite,
    },
    serde::Raw,
};
use serde_json::value::{RawValue, to_raw_value};

use crate::{Error, Federation, Result, client::Limits};

/// A template is one event, and a client waits for it.
const TEMPLATE: Limits = Limits {
    timeout: Duration::from_secs(30),
    max_body: 256 * 1024,
};
/// What answers an event that a room takes or not.
const EVENT: Limits = Limits {
    timeout: Duration::from_mins(1),
    max_body: 1024 * 1024,
};
/// The state of a large room.
const STATE: Limits = Limits {
    timeout: Duration::from_mins(5),
    max_body: 256 * 1024 * 1024,
};

/// The most servers of a room that are taken from an answer.
const MAX_SERVERS: usize = 100_000;

/// An event to be completed and signed by the server of its sender.
#[derive(Clone, Debug)]
pub struct Template {
    /// The version of the room.
    pub version: RoomVersionId,
    /// The event without hashes and signatures.
    pub event: Box<RawValue>,
}

/// A room that a user has joined.
#[derive(Debug)]
pub struct JoinedRoom {
    /// The state before the join.
    pub state: Vec<Box<RawValue>>,
    /// The events that authorise the state and the join.
    pub auth_chain: Vec<Box<RawValue>>,
    /// The join as the server signed it, too.
    pub event: Option<Box<RawValue>>,
    /// The servers that are in the room, if most members were left out of the state.
    pub servers: Option<BTreeSet<OwnedServerName>>,
}

impl Federation {
    /// Asks a server in a room for an event by which a user joins it.
    pub async fn make_join(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Template> {
        use prepare_join_event::v1::Request;
        let mut request = Request::new(room_id.to_owned(), user_id.to_owned());
        request.ver = RoomVersion::supported().collect();
        let response = self.request(server, request, TEMPLATE).await?;
        Ok(Template {
            version: response.room_version.unwrap_or(RoomVersionId::V1),
            event: response.event,
        })
    }

    /// Has a server in a room accept a join. It may leave most members out of the state.
    ///
    /// Spec: server-server, `PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}`.
    pub async fn send_join(&self, server: &ServerName, join: &Pdu) -> Result<JoinedRoom> {
        use create_join_event::v2::Request;
        let pdu = raw(join)?;
        let mut request = Request::new(join.room_id().clone(), join.event_id().clone(), pdu);
        request.omit_members = true;
        let room = self.request(server, request, STATE).await?.room_state;
        let servers = room.servers_in_room.unwrap_or_default().into_iter();
        let servers = servers.filter_map(|name| OwnedServerName::try_from(name).ok());
        Ok(JoinedRoom {
            servers: (room.members_omitted).then(|| servers.take(MAX_SERVERS).collect()),
            state: room.state,
            auth_chain: room.auth_chain,
            event: room.event,
        })
    }

    /// Asks a server in a room for an event by which a user leaves it, turns down an invitation or
    /// takes back a knock.
    pub async fn make_leave(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Template> {
        use prepare_leave_event::v1::Request;
        let request = Request::new(room_id.to_owned(), user_id.to_owned());
        let response = self.request(server, request, TEMPLATE).await?;
        Ok(Template {
            version: response.room_version.unwrap_or(RoomVersionId::V1),
            event: response.event,
        })
    }

    /// Has a server in a room accept that a user leaves.
    pub async fn send_leave(&self, server: &ServerName, leave: &Pdu) -> Result<()> {
        use create_leave_event::v2::Request;
        let pdu = raw(leave)?;
        let request = Request::new(leave.room_id().clone(), leave.event_id().clone(), pdu);
        self.request(server, request, EVENT).await?;
        Ok(())
    }

    /// Asks a server in a room for an event by which a user knocks at it.
    pub async fn make_knock(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Template> {
        use prepare_knock_event::v1::Request;
        let mut request = Request::new(room_id.to_owned(), user_id.to_owned());
        request.ver = RoomVersion::supported().collect();
        let response = self.request(server, request, TEMPLATE).await?;
        Ok(Template {
            version: response.room_version,
            event: response.event,
        })
    }

    /// Has a server in a room accept a knock; returns what the user may know of the room.
    pub async fn send_knock(&self, server: &ServerName, knock: &Pdu) -> Result<Vec<Box<RawValue>>> {
        use create_knock_event::v1::Request;
        let pdu = raw(knock)?;
        let request = Request::new(knock.room_id().clone(), knock.event_id().clone(), pdu);
        let response = self.request(server, request, EVENT).await?;
        let state = response.knock_room_state.iter().map(to_raw_value);
        state.collect::<Result<_, _>>().map_err(not_built)
    }

    /// Invites a user of another server, who learns of the room by some of its state; returns the
    /// event as that server signed it, too.
    pub async fn send_invite(
        &self,
        server: &ServerName,
        version: &RoomVersionId,
        invite: &Pdu,
        room_state: Vec<Box<RawValue>>,
    ) -> Result<Box<RawValue>> {
        use create_invite::v2::Request;
        let request = Request::new(
            invite.room_id().clone(),
            invite.event_id().clone(),
            version.clone(),
            raw(invite)?,
            room_state.into_iter().map(RawStrippedState::Pdu).collect(),
        );
        Ok(self.request(server, request, EVENT).await?.event)
    }

    /// Asks the server of a user who has invited somebody by an address to invite a user of this
    /// server, whose address it is.
    pub async fn exchange_third_party_invite(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        user_id: &UserId,
        content: Box<RawValue>,
    ) -> Result<()> {
        let (server, content) = (sender.server_name(), Raw::from_json(content));
        let (room_id, sender) = (room_id.to_owned(), sender.to_owned());
        let request =
            exchange_invite::v1::Request::new(room_id, sender, user_id.to_owned(), content);
        // The other server asks this one to sign the invitation, before it answers.
        self.request(server, request, EVENT).await?;
        Ok(())
    }

    /// The servers that may be asked, each once and without this one.
    pub fn candidates<'a>(
        &self,
        servers: impl IntoIterator<Item = &'a ServerName>,
    ) -> Vec<OwnedServerName> {
        let mut candidates: Vec<OwnedServerName> = Vec::new();
        for server in servers {
            let is_other = *server != *self.inner().server_name;
            if is_other && self.policy().allows(server) && !candidates.iter().any(|it| it == server)
            {
                candidates.push(server.to_owned());
            }
        }
        candidates
    }
}

/// The event as it is sent.
fn raw(pdu: &Pdu) -> Result<Box<RawValue>> {
    RawValue::from_string(pdu.json().to_owned()).map_err(not_built)
}

fn not_built(error: impl ToString) -> Error {
    Error::Request(error.to_string())
}
