//! Inviting users of other servers, and being invited by them.

use std::sync::Arc;

use event::{
    Pdu, RoomVersion,
    handshake::{self, merge_signatures},
};
use ruma::{RoomVersionId, UserId};
use serde_json::value::RawValue;

use super::{
    outside::{MAX_SHOWN, OutsideMembership},
    respond::{SentEvent, shown_to_outsiders},
};
use crate::{
    Error, Rooms,
    append::{EventAppender, NewEvent},
    outliers::RoomIdentity,
    policy_server::policy_server,
    rooms::RequestedWrite,
};

impl Rooms {
    /// Invites a user of another server: that server gets the event first, and signs it. `event`
    /// makes it; it is called again when what it needs of the state had to be read.
    pub(crate) async fn invite_remote(
        &self,
        room_id: &ruma::RoomId,
        target: &UserId,
        mut event: impl FnMut(&mut EventAppender<'_>) -> Result<NewEvent, Error> + Send,
    ) -> Result<(), Error> {
        self.0.federation.policy().check(target.server_name())?;
        let head = self.head(room_id).await?;
        if !super::may_take_part(&head, target.server_name()) {
            return Err(Error::Forbidden(
                "The room does not allow the server of the user",
            ));
        }
        let room = RoomIdentity::of(&head);
        let mut prepare = |appender: &mut EventAppender<'_>| {
            let event = event(appender)?;
            appender.prepare(&event)
        };
        let mut write = RequestedWrite {
            max_events: 1,
            append: &mut prepare,
        };
        let (prepared, _) = self.build(head.clone(), &mut write).await?;
        let invite = match policy_server(&head) {
            Some(policy) => {
                self.recommended(&policy, &head.version, &prepared.pdu)
                    .await?
            }
            None => prepared.pdu,
        };
        let mut shown: Vec<Arc<Pdu>> = shown_to_outsiders(&head);
        if let Some(nid) = head
            .state
            .event_nid("m.room.member", invite.sender().as_str())
        {
            shown.extend(self.0.live.events([nid]).await?.into_values());
        }
        let shown = shown.iter().map(|pdu| {
            RawValue::from_string(pdu.json().to_owned())
                .map_err(|error| Error::BadContent(error.to_string()))
        });
        let shown = shown.collect::<Result<Vec<_>, _>>()?;
        let server = target.server_name();
        let signed = self
            .0
            .federation
            .send_invite(server, room.version.id(), &invite, shown)
            .await?;
        let signed = merge_signatures(&invite, signed.get(), &room.version)?;
        self.accept(&room, Arc::new(signed)).await?;
        Ok(())
    }

    /// Takes the invitation of a user of this server, who exists, to a room of another server;
    /// returns it with this server's signature.
    #[tracing::instrument(name = "room.accept_invite", skip_all, fields(room.id = %sent.room_id), err(level = "debug"))]
    pub async fn accept_invite(
        &self,
        sent: SentEvent<'_>,
        version: &RoomVersionId,
        shown: Vec<Box<RawValue>>,
    ) -> Result<Arc<Pdu>, Error> {
        let version =
            RoomVersion::of(version).ok_or_else(|| Error::IncompatibleVersion(version.clone()))?;
        let room = RoomIdentity {
            // Not needed to verify events.
            room_nid: types::RoomNid::default(),
            room_id: sent.room_id.to_owned(),
            version: version.clone(),
        };
        let invite = Pdu::parse(sent.pdu.get(), &version)?;
        let own_name = &self.0.settings.server_name;
        handshake::check_invite(&invite, sent.room_id, sent.origin, own_name)?;
        sent.check_id(&invite)?;
        let verified = self.verify_event(&room, &invite).await?;
        let verified = verified.ok_or(Error::Forbidden("The event is not signed as it must be"))?;
        let shown = if version.room_id_is_create_hash() {
            self.check_shown(&room, shown).await?
        } else {
            shown
        };
        let signed = Arc::new(handshake::countersign(&verified, &version, &self.0.signer)?);
        self.record_outside(OutsideMembership {
            version,
            event: signed.clone(),
            shown,
        })
        .await?;
        Ok(signed)
    }
    /// Checks what an invitation shows of a room's state: all of it must be events of the room, signed
    /// as they must be, and the create event among them.
    ///
    /// Spec: server-server, "PUT /_matrix/federation/v2/invite/{roomId}/{eventId}"; since room version
    /// 12.
    async fn check_shown(
        &self,
        room: &RoomIdentity,
        shown: Vec<Box<RawValue>>,
    ) -> Result<Vec<Box<RawValue>>, Error> {
        if shown.len() > MAX_SHOWN {
            return Err(Error::Invalid(format!(
                "`invite_room_state` has more than {MAX_SHOWN} events"
            )));
        }
        let events = self.verify_events(room, shown.clone()).await?;
        if events.len() != shown.len() {
            return Err(Error::Invalid(
                "`invite_room_state` has what is no event of the room, or not signed as it must be"
                    .to_owned(),
            ));
        }
        let checked = handshake::check_stripped_state(&room.room_id, &events);
        checked.map_err(|error| Error::Invalid(format!("`invite_room_state`: {error}")))?;
        Ok(shown)
    }

    /// What of the state that the answer to a knock shows are events of the room, signed as they must
    /// be.
    pub(super) async fn signed_shown(
        &self,
        room: &RoomIdentity,
        mut shown: Vec<Box<RawValue>>,
    ) -> Result<Vec<Box<RawValue>>, Error> {
        shown.truncate(MAX_SHOWN);
        let events = self.verify_events(room, shown).await?;
        let texts = events.iter().map(|pdu| {
            RawValue::from_string(pdu.json().to_owned())
                .map_err(|error| Error::BadContent(error.to_string()))
        });
        texts.collect()
    }
}
