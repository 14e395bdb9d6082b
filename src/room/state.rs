//! Setting and reading a room's state.

use std::sync::Arc;

use event::{Pdu, PowerLevel, PowerLevels, State, visibility::visibility};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedEventId, OwnedRoomAliasId, RoomId, UserId,
    events::{
        StateEventType,
        room::{history_visibility::HistoryVisibility, member::MembershipState},
    },
};
use serde_json::value::RawValue;
use storage::{StoredEvent, memberships, snapshots};

use crate::{Error, Rooms, aliases, append::NewEvent, head::Head};

/// Which state of the room a user may see.
#[derive(Debug)]
pub(crate) enum StateViewpoint {
    /// The current one.
    Current(State),
    /// The one at the time the user left, by this event.
    AtLeave(StoredEvent),
}

impl Rooms {
    /// Sets a state event. Setting what is set already adds no event and answers with its id.
    pub async fn set_state(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        event_type: StateEventType,
        state_key: &str,
        content: Box<RawValue>,
    ) -> Result<OwnedEventId, Error> {
        if event_type == StateEventType::RoomCanonicalAlias {
            self.check_canonical_alias(room_id, sender, state_key, &content)
                .await?;
        }
        let wanted = event::canonical_object(content.get())?;
        let set = self.write(room_id, 1, |appender| {
            if event_type == StateEventType::RoomPowerLevels {
                appender.head().require_member(sender)?;
                check_creators(appender.head(), &wanted)?;
            }
            let present = appender
                .head()
                .state
                .get(&event_type.to_string(), state_key);
            if let Some(present) = present.filter(|present| present.sender() == sender) {
                let same = event::canonical_object(present.content_text())? == wanted;
                if same {
                    return Ok(present.event_id().to_owned());
                }
            }
            appender.append(NewEvent::state(
                sender.to_owned(),
                event_type.to_string().into(),
                state_key,
                content.clone(),
            ))
        });
        set.await.map_err(Error::hiding_unknown_room)
    }

    /// The state that a user may see: the current one for members, the one at the time of leaving
    /// for those who left.
    pub async fn visible_state(&self, room_id: &RoomId, user_id: &UserId) -> Result<State, Error> {
        match self.state_viewpoint(room_id, user_id).await? {
            StateViewpoint::Current(state) => Ok(state),
            StateViewpoint::AtLeave(left) => {
                let mut db = self.0.database.acquire().await?;
                self.state_after(&mut db, left.snapshot_nid).await
            }
        }
    }

    /// Determines which state of the room the user may see.
    pub(crate) async fn state_viewpoint(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<StateViewpoint, Error> {
        let head = self
            .head(room_id)
            .await
            .map_err(Error::hiding_unknown_room)?;
        let open = visibility(&head.state) == HistoryVisibility::WorldReadable;
        match head.state.membership(user_id) {
            _ if open => Ok(StateViewpoint::Current(head.state)),
            MembershipState::Join => Ok(StateViewpoint::Current(head.state)),
            MembershipState::Leave | MembershipState::Ban => {
                let left = self.leave_event(room_id, user_id).await?;
                Ok(StateViewpoint::AtLeave(left))
            }
            _ => Err(Error::NotInRoom),
        }
    }

    /// One state event that the user may see.
    pub async fn visible_state_event(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
        event_type: &StateEventType,
        state_key: &str,
    ) -> Result<Arc<Pdu>, Error> {
        let state = self.visible_state(room_id, user_id).await?;
        state
            .get(&event_type.to_string(), state_key)
            .cloned()
            .ok_or(Error::UnknownState)
    }

    /// The event by which a user who was a member left last.
    async fn leave_event(&self, room_id: &RoomId, user_id: &UserId) -> Result<StoredEvent, Error> {
        let mut db = self.0.database.snapshot().await?;
        let membership = memberships::find(&mut db, room_id, user_id)
            .await?
            .ok_or(Error::NotInRoom)?;
        if membership.forgotten {
            return Err(Error::NotInRoom);
        }
        let history = storage::events::state_history(
            &mut db,
            &[membership.room_nid],
            "m.room.member",
            user_id.as_str(),
        )
        .await?;
        // Who was only ever invited, or banned from outside, has seen nothing.
        let was_member = history
            .iter()
            .any(|event| event.pdu.membership() == Some(MembershipState::Join));
        let leave_event = history
            .into_iter()
            .rev()
            .take_while(|event| event.pdu.membership() != Some(MembershipState::Join))
            .last();
        leave_event.filter(|_| was_member).ok_or(Error::NotInRoom)
    }

    /// The state of a snapshot.
    pub(crate) async fn state_after(
        &self,
        db: &mut storage::Connection,
        snapshot: types::SnapshotNid,
    ) -> Result<State, Error> {
        let nids = snapshots::events(db, snapshot).await?;
        let events = storage::events::by_nids(db, &nids).await?;
        Ok(events.into_iter().map(|event| event.pdu).collect())
    }

    /// Spec: client-server, "m.room.canonical_alias": aliases that are new to the event must point
    /// to the room.
    async fn check_canonical_alias(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        state_key: &str,
        content: &RawValue,
    ) -> Result<(), Error> {
        if !state_key.is_empty() {
            return Ok(());
        }
        let head = self
            .head(room_id)
            .await
            .map_err(Error::hiding_unknown_room)?;
        head.require_member(sender)?;
        let before = head
            .state
            .get("m.room.canonical_alias", "")
            .and_then(|pdu| aliases::CanonicalAliases::read(pdu.content_text()).ok())
            .unwrap_or_default();
        let after = aliases::CanonicalAliases::read(content.get())
            .map_err(|error| Error::BadContent(error.to_string()))?;
        for alias in after
            .all()
            .filter(|alias| !before.all().any(|known| known == *alias))
        {
            let parsed = OwnedRoomAliasId::try_from(alias)
                .map_err(|_| Error::Invalid(format!("{alias} is not an alias")))?;
            let target = self.resolve_alias(&parsed).await;
            if !matches!(target, Ok(target) if target == *room_id) {
                return Err(Error::BadAlias(format!(
                    "{alias} does not point to this room"
                )));
            }
        }
        Ok(())
    }
}

/// Refuses power levels that name a creator, whose power is beyond numbers since version 12. The
/// rules deny the event, too; this tells the client that its request makes no sense.
fn check_creators(head: &Head, content: &CanonicalJsonObject) -> Result<(), Error> {
    let levels = PowerLevels::of(&head.state, &head.version);
    let Some(CanonicalJsonValue::Object(users)) = content.get("users") else {
        return Ok(());
    };
    let named = levels
        .users()
        .filter(|(_, level)| *level == PowerLevel::Infinite)
        .find(|(user, _)| users.contains_key(user.as_str()));
    match named {
        Some((user, _)) => Err(Error::Invalid(format!(
            "{user} created the room and cannot have a power level"
        ))),
        None => Ok(()),
    }
}
