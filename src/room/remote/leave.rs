//! Turning down invitations to rooms of other servers, taking back knocks at them, and knocking.

use std::sync::Arc;

use event::{Draft, Parents, Pdu, RoomVersion};
use ruma::{
    OwnedServerName, RoomId,
    events::{TimelineEventType, room::member::MembershipState},
};
use serde_json::{Map, Value};
use storage::memberships;
use types::RoomNid;

use super::{OwnMembership, join::most_specific, outside::OutsideMembership};
use crate::{Error, Profile, Rooms, Sender, content::raw, outliers::RoomIdentity};

impl Rooms {
    /// Leaves a room, turns down an invitation or takes back a knock: here if this server takes part
    /// in the room, else through a server that does. If none answers, an invitation is turned down
    /// for this server alone. Leaving twice is no error.
    #[tracing::instrument(name = "room.leave", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn leave(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        if self.takes_part(room_id).await? {
            return self.leave_here(room_id, sender, reason).await;
        }
        let membership = {
            let mut db = self.0.database.acquire().await?;
            memberships::find(&mut db, room_id, &sender.user_id).await?
        };
        let outside = [MembershipState::Invite, MembershipState::Knock];
        match membership {
            Some(found) if outside.contains(&found.membership) => {}
            Some(_) => return self.leave_here(room_id, sender, reason).await,
            None => return Err(Error::NotInRoom),
        }
        let mut extra = Map::new();
        if let Some(reason) = reason {
            extra.insert("reason".to_owned(), reason.into());
        }
        let leave = OwnMembership {
            room_id,
            user_id: &sender.user_id,
            membership: "leave",
            profile: &Profile::default(),
            extra: &extra,
        };
        let (version, event) = match self.leave_through_any(leave).await {
            Ok(left) => left,
            Err(error) => {
                tracing::info!(room.id = %room_id, %error, "An invitation is turned down here alone");
                self.leave_alone(leave).await?
            }
        };
        self.record_outside(OutsideMembership {
            version,
            event: Arc::new(event),
            shown: Vec::new(),
        })
        .await
    }

    async fn leave_through_any(
        &self,
        leave: OwnMembership<'_>,
    ) -> Result<(RoomVersion, Pdu), Error> {
        let candidates = self.candidates(leave.room_id, leave.user_id, &[]).await?;
        let mut failures = Vec::new();
        for server in &candidates {
            let left = async {
                let federation = &self.0.federation;
                let template = federation
                    .make_leave(server, leave.room_id, leave.user_id)
                    .await?;
                let (version, event) = self.complete(leave, &template)?;
                federation.send_leave(server, &event).await?;
                Ok((version, event))
            };
            match left.await {
                Ok(left) => return Ok(left),
                Err(error) => failures.push(error),
            }
        }
        Err(most_specific(failures))
    }

    /// An event that no other server gets to see: it follows the invitation, which is all that is
    /// known of the room.
    async fn leave_alone(&self, leave: OwnMembership<'_>) -> Result<(RoomVersion, Pdu), Error> {
        let head = self.head(leave.room_id).await?;
        let nid = head
            .state
            .event_nid("m.room.member", leave.user_id.as_str())
            .ok_or(Error::NotInRoom)?;
        let invite = self.0.live.events([nid]).await?.remove(&nid);
        let invite = invite.ok_or(Error::NotInRoom)?;
        let event_id = invite.event_id().clone();
        let hash = invite.reference_hash(&head.version)?;
        let reference_hashes = [(event_id.clone(), hash)].into();
        let parents = Parents {
            prev_events: vec![event_id.clone()],
            auth_events: vec![event_id],
            reference_hashes,
            depth: head.state.depth().saturating_add(1),
        };
        let content = leave
            .profile
            .member_content(leave.membership, leave.extra.clone());
        let draft = Draft {
            room_id: Some(leave.room_id.to_owned()),
            sender: leave.user_id.to_owned(),
            event_type: TimelineEventType::RoomMember,
            state_key: Some(leave.user_id.to_string()),
            content: raw(&content)?,
            redacts: None,
            origin_server_ts: self.0.clock.now(),
        };
        let event = draft.build(&head.version, parents, &self.0.signer)?;
        Ok((head.version, event))
    }

    /// Asks to be let into a room: here if this server takes part in it, else through one of the
    /// servers `via` or that of the room's id.
    #[tracing::instrument(name = "room.knock_via", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn knock_via(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        profile: Profile,
        reason: Option<&str>,
        via: &[OwnedServerName],
    ) -> Result<(), Error> {
        if self.takes_part(room_id).await? {
            // Who is banned is part of it.
            Box::pin(self.whole_head(room_id)).await?;
            return self.knock(room_id, sender, profile, reason).await;
        }
        let mut extra: Map<String, Value> = Map::new();
        if let Some(reason) = reason {
            extra.insert("reason".to_owned(), reason.into());
        }
        let knock = OwnMembership {
            room_id,
            user_id: &sender.user_id,
            membership: "knock",
            profile: &profile,
            extra: &extra,
        };
        let mut failures = Vec::new();
        for server in &self.candidates(room_id, &sender.user_id, via).await? {
            let knocked = async {
                let federation = &self.0.federation;
                let template = federation
                    .make_knock(server, room_id, knock.user_id)
                    .await?;
                let (version, event) = self.complete(knock, &template)?;
                let mut shown = federation.send_knock(server, &event).await?;
                if version.room_id_is_create_hash() {
                    let room = RoomIdentity {
                        // Not needed to verify events.
                        room_nid: RoomNid::default(),
                        room_id: room_id.to_owned(),
                        version: version.clone(),
                    };
                    shown = self.signed_shown(&room, shown).await?;
                }
                Ok(OutsideMembership {
                    version,
                    event: Arc::new(event),
                    shown,
                })
            };
            match knocked.await {
                Ok(knocked) => return self.record_outside(knocked).await,
                Err(error) => failures.push(error),
            }
        }
        Err(most_specific(failures))
    }
}
