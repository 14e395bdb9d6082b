//! Member lists and whole states.

use event::{State, visibility::visibility};
use live::UserVisibility;
use ruma::{
    RoomId, UserId,
    events::{
        StateEventType,
        room::{history_visibility::HistoryVisibility, member::MembershipState},
    },
};
use serde::{Deserialize, Serialize};
use storage::{Connection, StoredEvent, events, events::Direction};
use types::{HistoryOrder, PageToken};

use crate::{Error, Reader, Rooms, render, state::StateViewpoint};

/// Which members are asked for.
#[derive(Clone, Debug, Default)]
pub struct MembersQuery {
    /// The point in the room's past; now if there is none.
    pub at: Option<PageToken>,
    /// Only those of this membership.
    pub membership: Option<MembershipState>,
    /// Not those of this membership.
    pub not_membership: Option<MembershipState>,
}

impl Rooms {
    /// The body of `/members`.
    #[tracing::instrument(name = "room.members", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn members(
        &self,
        room_id: &RoomId,
        reader: Reader<'_>,
        query: &MembersQuery,
    ) -> Result<String, Error> {
        self.await_whole_state(room_id, reader.user_id).await?;
        let state = match query.at {
            Some(PageToken(at)) => self.visible_state_at(room_id, reader.user_id, at).await?,
            None => self.visible_state(room_id, reader.user_id).await?,
        };
        let members =
            state
                .of_type("m.room.member")
                .map(AsRef::as_ref)
                .filter(|pdu: &&event::Pdu| {
                    let membership = pdu.membership();
                    query
                        .membership
                        .as_ref()
                        .is_none_or(|wanted| membership.as_ref() == Some(wanted))
                        && query
                            .not_membership
                            .as_ref()
                            .is_none_or(|unwanted| membership.as_ref() != Some(unwanted))
                });
        let chunk = render::state(members, self.0.clock.now_ms());
        Ok(format!(r#"{{"chunk":{chunk}}}"#))
    }

    /// The body of `/joined_members`.
    ///
    /// The specification wants the reader to be in the room; of a world-readable one everybody may
    /// read the same from `/members`.
    pub async fn joined_members(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Content {
            displayname: Option<String>,
            avatar_url: Option<String>,
        }
        #[derive(Serialize)]
        struct Member {
            // Returned as `null` where there is none: clients look for both.
            display_name: Option<String>,
            avatar_url: Option<String>,
        }
        self.await_whole_state(room_id, user_id).await?;
        let state = self.member_state(room_id, user_id).await?;
        let joined: std::collections::BTreeMap<&str, Member> = state
            .of_type("m.room.member")
            .filter(|pdu| pdu.membership() == Some(MembershipState::Join))
            .filter_map(|pdu| {
                let content = pdu.content_as::<Content>().ok();
                let (display_name, avatar_url) = content.map_or((None, None), |content| {
                    (content.displayname, content.avatar_url)
                });
                Some((
                    pdu.state_key()?,
                    Member {
                        display_name,
                        avatar_url,
                    },
                ))
            })
            .collect();
        let joined =
            serde_json::to_string(&joined).map_err(|error| Error::BadContent(error.to_string()))?;
        Ok(format!(r#"{{"joined":{joined}}}"#))
    }

    /// The body of `/state`.
    #[tracing::instrument(name = "room.state", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn state(&self, room_id: &RoomId, reader: Reader<'_>) -> Result<String, Error> {
        self.await_whole_state(room_id, reader.user_id).await?;
        let state = self.visible_state(room_id, reader.user_id).await?;
        Ok(render::state(
            state.iter().map(AsRef::as_ref),
            self.0.clock.now_ms(),
        ))
    }

    /// The body of `/state/{eventType}/{stateKey}`: the content, or the whole event.
    pub async fn state_event(
        &self,
        room_id: &RoomId,
        reader: Reader<'_>,
        event_type: &StateEventType,
        state_key: &str,
        whole: bool,
    ) -> Result<String, Error> {
        if *event_type == StateEventType::RoomMember {
            self.await_member(room_id, reader.user_id, state_key)
                .await?;
        }
        let event = self
            .visible_state_event(room_id, reader.user_id, event_type, state_key)
            .await?;
        if !whole {
            return Ok(event.content_text().to_owned());
        }
        let mut body = String::new();
        event::ClientEvent::of(&event).write(&mut body);
        Ok(body)
    }

    /// Waits until the whole state of a room is known, if the user may see the room.
    async fn await_whole_state(&self, room_id: &RoomId, user_id: &UserId) -> Result<(), Error> {
        match self.head(room_id).await {
            Ok(head) if head.state.is_partial() => {}
            // Who asks for it next is told what is wrong.
            _ => return Ok(()),
        }
        self.state_viewpoint(room_id, user_id).await?;
        Box::pin(self.whole_head(room_id)).await?;
        Ok(())
    }

    /// The same, unless what is asked for is a member of this server who is known.
    async fn await_member(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
        member: &str,
    ) -> Result<(), Error> {
        let is_known = match self.head(room_id).await {
            Ok(head) => {
                let is_local = <&UserId>::try_from(member).is_ok_and(|id| self.is_local(id));
                is_local && head.state.members().get(member).is_some()
            }
            Err(_) => true,
        };
        if is_known {
            return Ok(());
        }
        self.await_whole_state(room_id, user_id).await
    }

    /// The joined members, for those who are in the room, and for all if it is world-readable.
    async fn member_state(&self, room_id: &RoomId, user_id: &UserId) -> Result<State, Error> {
        match self.head(room_id).await {
            Ok(head)
                if head.state.membership(user_id) == MembershipState::Join
                    || visibility(head.state.core()) == HistoryVisibility::WorldReadable =>
            {
                let members = head.state.members().iter();
                let joined =
                    members.filter(|(_, member)| member.membership() == MembershipState::Join);
                let events = self
                    .0
                    .live
                    .events(joined.map(|(_, member)| member.event_nid));
                Ok(events.await?.into_values().collect())
            }
            Ok(_) | Err(Error::UnknownRoom) => Err(Error::NotInRoom),
            Err(error) => Err(error),
        }
    }

    /// The state as of a place in the history, but not after the user left; as the user first saw
    /// it if what happened last until then is hidden.
    async fn visible_state_at(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
        at: HistoryOrder,
    ) -> Result<State, Error> {
        let at = match self.state_viewpoint(room_id, user_id).await? {
            StateViewpoint::Current(_) => at,
            StateViewpoint::AtLeave(left) => left.history_order.map_or(at, |left| at.min(left)),
        };
        let room_nid = self.head(room_id).await?.room_nid;
        let mut db = self.0.database.snapshot().await?;
        let last = events::history(
            &mut db,
            room_nid,
            HistoryOrder::MIN,
            at,
            Direction::Backward,
            1,
        )
        .await?;
        let visibility = UserVisibility::load(&mut db, room_nid, user_id).await?;
        match last.first().filter(|last| visibility.may_see(last)) {
            Some(last) => self.state_after(&mut db, last.snapshot_nid).await,
            None => self.first_state(&mut db, room_id, user_id).await,
        }
    }

    /// The state as the user first saw it: clients ask for what was before a room that is new to them.
    async fn first_state(
        &self,
        db: &mut Connection,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<State, Error> {
        let room_nid = self.head(room_id).await?.room_nid;
        let (event_type, state_key) = ("m.room.member", user_id.as_str());
        let own = events::current_state_history(db, &[room_nid], event_type, state_key).await?;
        let joined = |event: &&StoredEvent| event.pdu.membership() == Some(MembershipState::Join);
        match own.iter().find(joined) {
            Some(first) => self.state_after(db, first.snapshot_nid).await,
            None => self.visible_state(room_id, user_id).await,
        }
    }
}
