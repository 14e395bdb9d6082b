//! Taking in the events by which users of other servers come into rooms here, or out of them.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use event::{Pdu, handshake, view::STRIPPED_STATE_TYPES};
use ruma::{
    EventId, OwnedServerName, RoomId, ServerName, UserId, events::room::member::MembershipState,
};
use serde_json::value::RawValue;
use storage::events;
use types::EventNid;

use super::{accept::Accepted, joined_by_server};
use crate::{Error, Rooms, head::Head, outliers::RoomIdentity};

/// A room as a server learns of it that joins it.
#[derive(Debug)]
pub struct AcceptedJoin {
    /// The state before the join, without most members if that was asked for.
    pub state: Vec<Arc<Pdu>>,
    /// The events that authorise the state and the join; those of `state` need not be repeated if
    /// members were left out.
    pub auth_chain: Vec<Arc<Pdu>>,
    /// The servers that had users in the room before the join, if members were left out.
    pub servers: Option<BTreeSet<OwnedServerName>>,
    /// The join, with the signature of this server if a user of it vouches for the one who joins.
    pub event: Arc<Pdu>,
}

/// An event that another server sends for one of its users.
#[derive(Clone, Copy, Debug)]
pub struct SentEvent<'a> {
    /// That server.
    pub origin: &'a ServerName,
    /// The room that the request names.
    pub room_id: &'a RoomId,
    /// The event id that the request names.
    pub event_id: &'a EventId,
    /// The event.
    pub pdu: &'a RawValue,
}

impl SentEvent<'_> {
    /// Fails if the event is not the one that the request names.
    pub(super) fn check_id(&self, pdu: &Pdu) -> Result<(), Error> {
        if *pdu.event_id() == *self.event_id {
            Ok(())
        } else {
            Err(Error::Invalid("The event has another id".to_owned()))
        }
    }
}

impl Rooms {
    /// Adds the join of a user of another server, and returns the room; with `omit_members` only
    /// those member events that name a room without a name.
    ///
    /// Spec: server-server, `PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}`.
    #[tracing::instrument(name = "room.accept_join", skip_all, fields(room.id = %sent.room_id), err(level = "debug"))]
    pub async fn accept_join(
        &self,
        sent: SentEvent<'_>,
        omit_members: bool,
    ) -> Result<AcceptedJoin, Error> {
        let (head, accepted) = self.accept_membership(sent, MembershipState::Join).await?;
        let omitted = if omit_members {
            members_but_heroes(&head, accepted.event.pdu.sender())
        } else {
            HashSet::new()
        };
        let state = self.state_before(&accepted, &omitted).await?;
        let stated: Vec<EventNid> = state.iter().map(|(nid, _)| *nid).collect();
        let named: Vec<EventNid> = stated.iter().copied().chain(accepted.auth_nids).collect();
        let mut db = self.0.database.acquire().await?;
        let mut wanted: BTreeSet<EventNid> = events::auth_chain(&mut db, &named)
            .await?
            .into_iter()
            .collect();
        wanted.extend(named);
        if omit_members {
            for nid in &stated {
                wanted.remove(nid);
            }
        }
        let wanted: Vec<EventNid> = wanted.into_iter().collect();
        let chain = events::by_nids(&mut db, &wanted).await?;
        Ok(AcceptedJoin {
            state: state.into_iter().map(|(_, pdu)| pdu).collect(),
            auth_chain: chain.into_iter().map(|event| event.pdu).collect(),
            servers: omit_members.then(|| {
                let servers = joined_by_server(&head).into_keys();
                servers.map(ToOwned::to_owned).collect()
            }),
            event: accepted.event.pdu,
        })
    }

    /// Adds that a user of another server leaves a room, turns down an invitation or takes back a
    /// knock.
    #[tracing::instrument(name = "room.accept_leave", skip_all, fields(room.id = %sent.room_id), err(level = "debug"))]
    pub async fn accept_leave(&self, sent: SentEvent<'_>) -> Result<(), Error> {
        self.accept_membership(sent, MembershipState::Leave).await?;
        Ok(())
    }

    /// Adds the knock of a user of another server, and returns what the user may know of the room.
    #[tracing::instrument(name = "room.accept_knock", skip_all, fields(room.id = %sent.room_id), err(level = "debug"))]
    pub async fn accept_knock(&self, sent: SentEvent<'_>) -> Result<Vec<Arc<Pdu>>, Error> {
        let (head, _) = self.accept_membership(sent, MembershipState::Knock).await?;
        Ok(shown_to_outsiders(&head))
    }

    /// Checks an event that changes the membership of a user of the server that sends it, and adds
    /// it to the room.
    async fn accept_membership(
        &self,
        sent: SentEvent<'_>,
        membership: MembershipState,
    ) -> Result<(Head, Accepted), Error> {
        let head = self.resident_head(sent.origin, sent.room_id).await?;
        if membership != MembershipState::Leave {
            require_whole_state(&head)?;
        }
        let room = RoomIdentity::of(&head);
        let pdu = Pdu::parse(sent.pdu.get(), &room.version)?;
        handshake::check_sent(&pdu, sent.room_id, &membership, sent.origin)?;
        sent.check_id(&pdu)?;
        let pdu = self.countersigned(pdu, &head).await?;
        let verified = self.verify_event(&room, &pdu).await?;
        let verified = verified.ok_or(Error::Forbidden("The event is not signed as it must be"))?;
        let accepted = self.accept(&room, verified).await?;
        Ok((head, accepted))
    }

    /// A join that a user of this server vouches for, with this server's signature. Fails if the user
    /// who joins meets none of the conditions of the room: what was drafted is not known any more.
    ///
    /// Spec: server-server, "Restricted rooms".
    async fn countersigned(&self, pdu: Pdu, head: &Head) -> Result<Pdu, Error> {
        let authoriser = handshake::authorised_via(&pdu);
        if !authoriser.is_some_and(|user_id| self.is_local(&user_id)) {
            return Ok(pdu);
        }
        self.authoriser_for_remote(head, pdu.sender()).await?;
        Ok(handshake::countersign(&pdu, &head.version, &self.0.signer)?)
    }
}

/// Fails as if the room was not known, if parts of its state are not: other servers can do better
/// (MSC3895).
pub(super) fn require_whole_state(head: &Head) -> Result<(), Error> {
    if head.state.is_partial() {
        Err(Error::UnknownRoom)
    } else {
        Ok(())
    }
}

/// The state that users may know who are invited to a room or knock at it.
///
/// Spec: client-server, "Stripped state".
pub(super) fn shown_to_outsiders(head: &Head) -> Vec<Arc<Pdu>> {
    let state = head.state.core();
    let shown = STRIPPED_STATE_TYPES
        .iter()
        .filter_map(|event_type| state.get(event_type, ""));
    shown.cloned().collect()
}

/// The member events that a server may do without that joins by a user.
fn members_but_heroes(head: &Head, user_id: &UserId) -> HashSet<EventNid> {
    let heroes = if head.state.is_named() {
        Vec::new()
    } else {
        head.state.heroes().for_reader(user_id)
    };
    let members = head.state.members().iter();
    let others = members.filter(|(member, _)| !heroes.iter().any(|hero| hero.as_str() == *member));
    others.map(|(_, member)| member.event_nid).collect()
}
