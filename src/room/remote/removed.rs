//! Invitations that are withdrawn, and knocks that are turned down, of users here by members of
//! rooms that this server does not take part in.

use std::sync::Arc;

use event::Pdu;
use ruma::{OwnedEventId, UserId, events::room::member::MembershipState};
use serde_json::value::RawValue;

use super::outside::OutsideMembership;
use crate::{Error, Rooms, head::Head, outliers::RoomIdentity};

impl Rooms {
    /// Records the events that end an invitation or a knock of a user here, and returns their ids.
    ///
    /// The room's state is not known, so that nobody can say whether the sender had the power. What
    /// is asked for instead is that the event names the invitation or knock which it ends among its
    /// auth events, as the specification has it: its id is known to servers in the room only. An
    /// invitation is ended only by the user who made it.
    pub(crate) async fn receive_removals(
        &self,
        room: &RoomIdentity,
        head: &Head,
        events: Vec<Box<RawValue>>,
    ) -> Result<Vec<OwnedEventId>, Error> {
        let mut removals = Vec::new();
        for event in events {
            let Ok(pdu) = Pdu::parse(event.get(), &room.version) else {
                continue;
            };
            if *pdu.room_id() == room.room_id && self.ends_outside(head, &pdu).await? {
                removals.push(event);
            }
        }
        if removals.is_empty() {
            return Ok(Vec::new());
        }
        let mut recorded = Vec::new();
        for event in self.verify_events(room, removals).await? {
            recorded.push(event.event_id().clone());
            self.record_outside(OutsideMembership {
                version: room.version.clone(),
                event: Arc::clone(&event),
                shown: Vec::new(),
            })
            .await?;
        }
        Ok(recorded)
    }

    /// Whether an event removes a user here, and names what it ends.
    async fn ends_outside(&self, head: &Head, pdu: &Pdu) -> Result<bool, Error> {
        let removes = matches!(
            pdu.membership(),
            Some(MembershipState::Leave | MembershipState::Ban)
        );
        let user_id = pdu.state_key().filter(|_| removes);
        let user_id = user_id.and_then(|user_id| <&UserId>::try_from(user_id).ok());
        let Some(user_id) = user_id.filter(|user_id| self.is_local(user_id)) else {
            return Ok(false);
        };
        let Some(nid) = head.state.event_nid("m.room.member", user_id.as_str()) else {
            return Ok(false);
        };
        let Some(present) = self.0.live.events([nid]).await?.remove(&nid) else {
            return Ok(false);
        };
        let may_end = match present.membership() {
            Some(MembershipState::Invite) => pdu.sender() == present.sender(),
            Some(MembershipState::Knock) => true,
            _ => false,
        };
        Ok(may_end && pdu.auth_events().contains(present.event_id()))
    }
}
