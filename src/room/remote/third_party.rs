//! Invitations of somebody by an address, whose Matrix user an identity server has told since.
//!
//! Spec: server-server, "Third-party invites". The authorisation rules say whether the identity server
//! is the one that the room's `m.room.third_party_invite` names.

use ruma::{RoomId, ServerName, UserId, events::TimelineEventType};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::{
    Error, Rooms,
    append::{EventAppender, NewEvent},
    content::raw,
    head::Head,
    outliers::RoomIdentity,
    rooms::RequestedWrite,
};

/// An invitation by an address that belongs to a user.
#[derive(Clone, Copy, Debug)]
pub struct ThirdPartyInvite<'a> {
    /// The room.
    pub room_id: &'a RoomId,
    /// Who invited.
    pub sender: &'a UserId,
    /// Whose address it is.
    pub user_id: &'a UserId,
    /// What the identity server has signed: the user, and the token of the invitation.
    pub signed: &'a RawValue,
}

impl Rooms {
    /// Has a user of this server invited to a room by the server of whoever invited the address.
    #[tracing::instrument(name = "room.claim_third_party_invite", skip_all, fields(room.id = %invite.room_id), err(level = "debug"))]
    pub async fn claim_third_party_invite(
        &self,
        invite: ThirdPartyInvite<'_>,
    ) -> Result<(), Error> {
        if !self.is_local(invite.user_id) {
            return Err(Error::Invalid("The user is not of this server".to_owned()));
        }
        if self.is_local(invite.sender) {
            let head = self.head(invite.room_id).await?;
            return self.invite_in(head, invite).await;
        }
        let content = raw(&json!({
            "membership": "invite",
            "third_party_invite": { "display_name": "", "signed": invite.signed },
        }))?;
        let ThirdPartyInvite {
            room_id,
            sender,
            user_id,
            ..
        } = invite;
        let federation = &self.0.federation;
        federation
            .exchange_third_party_invite(room_id, sender, user_id, content)
            .await?;
        Ok(())
    }

    /// Invites a user whose server asks for it, by an invitation of a user of this server.
    #[tracing::instrument(name = "room.exchange_third_party_invite", skip_all, fields(room.id = %invite.room_id), err(level = "debug"))]
    pub async fn exchange_third_party_invite(
        &self,
        origin: &ServerName,
        invite: ThirdPartyInvite<'_>,
    ) -> Result<(), Error> {
        let head = self.resident_head(origin, invite.room_id).await?;
        if !self.is_local(invite.sender) {
            return Err(Error::Forbidden(
                "The invitation is not one of a user of this server",
            ));
        }
        if self.is_local(invite.user_id) {
            return self.invite_in(head, invite).await;
        }
        let event = |appender: &mut EventAppender<'_>| member_event(appender, invite);
        self.invite_remote(invite.room_id, invite.user_id, event)
            .await
    }

    /// Invites a user of this server by an invitation of another one.
    async fn invite_in(&self, head: Head, invite: ThirdPartyInvite<'_>) -> Result<(), Error> {
        let room = RoomIdentity::of(&head);
        let mut prepare = |appender: &mut EventAppender<'_>| {
            let event = member_event(appender, invite)?;
            appender.prepare(&event)
        };
        let mut write = RequestedWrite {
            max_events: 1,
            append: &mut prepare,
        };
        let (prepared, _) = self.build(head, &mut write).await?;
        self.accept(&room, prepared.pdu).await?;
        Ok(())
    }
}

/// The invitation of a user, by what the room has of the invitation by an address.
fn member_event(
    appender: &mut EventAppender<'_>,
    invite: ThirdPartyInvite<'_>,
) -> Result<NewEvent, Error> {
    #[derive(Deserialize)]
    struct Signed {
        mxid: String,
        token: String,
    }
    #[derive(Default, Deserialize)]
    struct Stored {
        #[serde(default)]
        display_name: String,
    }
    let signed: Signed = serde_json::from_str(invite.signed.get())
        .map_err(|error| Error::BadContent(format!("`signed`: {error}")))?;
    if signed.mxid != invite.user_id.as_str() {
        return Err(Error::Forbidden("The address belongs to another user"));
    }
    let stored = appender.event("m.room.third_party_invite", &signed.token)?;
    let stored = stored.ok_or(Error::Forbidden("The room has no such invitation"))?;
    let Stored { display_name } = stored.content_as().unwrap_or_default();
    let content = json!({
        "membership": "invite",
        "third_party_invite": { "display_name": display_name, "signed": invite.signed },
    });
    Ok(NewEvent::state(
        invite.sender.to_owned(),
        TimelineEventType::RoomMember,
        invite.user_id.as_str(),
        raw(&content)?,
    ))
}
