//! Setting and reading a room's state.

use std::{collections::HashMap, sync::Arc};

use event::{Pdu, PowerLevel, PowerLevels, State, visibility::visibility};
use live::LastLeave;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedEventId, OwnedRoomAliasId, OwnedRoomId, RoomId,
    UserId,
    events::{
        StateEventType,
        room::{history_visibility::HistoryVisibility, member::MembershipState},
    },
};
use serde::Deserialize;
use serde_json::value::RawValue;
use storage::{CommitError, StoredEvent, memberships};

use crate::{
    Error, Rooms, Sender, aliases::CanonicalAliases, append::NewEvent, content::raw, head::Head,
};

/// Names the user who vouches for the join of another to a restricted room.
pub(crate) const AUTHORISED_VIA: &str = "join_authorised_via_users_server";

/// Which state of the room a user may see.
#[derive(Debug)]
pub(crate) enum StateViewpoint {
    /// The current one.
    Current(Head),
    /// The one at the time the user left, by this event.
    AtLeave(StoredEvent),
}

impl Rooms {
    /// Sets a state event. Setting what is set already adds no event and answers with its id, and so does the
    /// same transaction of the sender.
    #[tracing::instrument(name = "room.set_state", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn set_state(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        event_type: StateEventType,
        state_key: &str,
        content: Box<RawValue>,
    ) -> Result<OwnedEventId, Error> {
        let transaction = sender.stored_transaction(None);
        let sender = &*sender.user_id;
        let is_canonical_alias =
            event_type == StateEventType::RoomCanonicalAlias && state_key.is_empty();
        let aliases = if is_canonical_alias {
            self.resolve_canonical_aliases(room_id, sender, &content)
                .await?
        } else {
            HashMap::new()
        };
        let mut wanted = event::canonical_object(content.get())?;
        let mut content = content;
        // Only this server vouches for a join, and from join to join nobody needs to: clients
        // repeat the field of the event whose name they change.
        if event_type == StateEventType::RoomMember && wanted.remove(AUTHORISED_VIA).is_some() {
            content = raw(&wanted)?;
        }
        let type_name = event_type.to_string();
        let event = NewEvent {
            transaction,
            ..NewEvent::state(sender.to_owned(), type_name.into(), state_key, content)
        };
        let set = self.write(room_id, 1, |appender| {
            if event_type == StateEventType::RoomCreate {
                appender.head().require_member(sender)?;
                return Err(Error::Invalid(
                    "The room has its create event already".to_owned(),
                ));
            }
            if event_type == StateEventType::RoomPowerLevels {
                appender.head().require_member(sender)?;
                check_creators(appender.head(), &wanted)?;
            }
            if is_canonical_alias {
                check_canonical_aliases(appender.head(), sender, &aliases)?;
            }
            let present = appender.event(&event_type.to_string(), state_key)?;
            if let Some(present) = present.filter(|present| present.sender() == sender) {
                let same = event::canonical_object(present.content_text())? == wanted;
                if same {
                    return Ok(present.event_id().to_owned());
                }
            }
            appender.append(event.clone())
        });
        match set.await {
            Err(Error::Commit(CommitError::DuplicateTransaction(event_id))) => Ok(event_id),
            set => set.map_err(Error::hiding_unknown_room),
        }
    }

    /// The state that a user may see: the current one for members, the one at the time of leaving
    /// for those who left.
    pub async fn visible_state(&self, room_id: &RoomId, user_id: &UserId) -> Result<State, Error> {
        match self.state_viewpoint(room_id, user_id).await? {
            StateViewpoint::Current(head) => Ok(self.0.live.whole_state(&head.state).await?),
            StateViewpoint::AtLeave(left) => {
                let mut db = self.0.database.acquire().await?;
                self.state_after(&mut db, left.snapshot_nid).await
            }
        }
    }

    /// The room that this one replaces, as its create event says.
    pub async fn predecessor(&self, room_id: &RoomId) -> Result<Option<OwnedRoomId>, Error> {
        #[derive(Deserialize)]
        struct Content {
            predecessor: Predecessor,
        }
        #[derive(Deserialize)]
        struct Predecessor {
            room_id: OwnedRoomId,
        }
        let head = self.head(room_id).await?;
        let create = head.state.core().get("m.room.create", "");
        let content = create.and_then(|create| create.content_as::<Content>().ok());
        Ok(content.map(|content| content.predecessor.room_id))
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
        let open = visibility(head.state.core()) == HistoryVisibility::WorldReadable;
        match head.state.membership(user_id) {
            _ if open => Ok(StateViewpoint::Current(head)),
            MembershipState::Join => Ok(StateViewpoint::Current(head)),
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
        let event_type = event_type.to_string();
        match self.state_viewpoint(room_id, user_id).await? {
            StateViewpoint::Current(head) => {
                self.current_event(&head, &event_type, state_key).await
            }
            StateViewpoint::AtLeave(left) => {
                let mut db = self.0.database.acquire().await?;
                let state = self.state_after(&mut db, left.snapshot_nid).await?;
                let event = state.get(&event_type, state_key).cloned();
                event.ok_or(Error::UnknownState)
            }
        }
    }

    async fn current_event(
        &self,
        head: &Head,
        event_type: &str,
        state_key: &str,
    ) -> Result<Arc<Pdu>, Error> {
        if let Some(event) = head.state.core().get(event_type, state_key) {
            return Ok(event.clone());
        }
        let nid = head.state.event_nid(event_type, state_key);
        let nid = nid.ok_or(Error::UnknownState)?;
        let event = self.0.live.events([nid]).await?.remove(&nid);
        event.ok_or(Error::UnknownState)
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
        let history = storage::events::current_state_history(
            &mut db,
            &[membership.room_nid],
            "m.room.member",
            user_id.as_str(),
        )
        .await?;
        let leave = LastLeave::find(history.iter());
        leave
            .map(|(_, event)| event.clone())
            .ok_or(Error::NotInRoom)
    }

    /// The state of a snapshot; an empty one without a snapshot, as outliers have none.
    pub(crate) async fn state_after(
        &self,
        db: &mut storage::Connection,
        snapshot: Option<types::SnapshotNid>,
    ) -> Result<State, Error> {
        let Some(snapshot) = snapshot else {
            return Ok(State::new());
        };
        let events = storage::events::state_of(db, &[snapshot]).await?;
        Ok(events.into_iter().map(|event| event.pdu).collect())
    }

    /// The aliases that the content of `m.room.canonical_alias` names, each with the error to
    /// return if it is new to the event and does not point to the room.
    async fn resolve_canonical_aliases(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        content: &RawValue,
    ) -> Result<HashMap<String, Option<Error>>, Error> {
        // A stranger learns nothing of which aliases exist.
        let head = self
            .head(room_id)
            .await
            .map_err(Error::hiding_unknown_room)?;
        head.require_member(sender)?;
        let content = CanonicalAliases::read(content.get())
            .map_err(|error| Error::BadContent(error.to_string()))?;
        let mut resolved = HashMap::new();
        for alias in content.all() {
            let error = match OwnedRoomAliasId::try_from(alias) {
                Err(_) => Some(Error::Invalid(format!("{alias} is not an alias"))),
                Ok(parsed) => match self.resolve_alias(&parsed).await {
                    Ok(target) if target == *room_id => None,
                    _ => Some(Error::BadAlias(format!(
                        "{alias} does not point to this room"
                    ))),
                },
            };
            resolved.insert(alias.to_owned(), error);
        }
        Ok(resolved)
    }
}

/// Spec: client-server, "m.room.canonical_alias": aliases that are new to the event must point to
/// the room.
fn check_canonical_aliases(
    head: &Head,
    sender: &UserId,
    aliases: &HashMap<String, Option<Error>>,
) -> Result<(), Error> {
    head.require_member(sender)?;
    let before = head
        .state
        .core()
        .get("m.room.canonical_alias", "")
        .and_then(|pdu| CanonicalAliases::read(pdu.content_text()).ok())
        .unwrap_or_default();
    let new = aliases
        .iter()
        .filter(|(alias, _)| !before.all().any(|known| known == *alias));
    for (_, error) in new {
        match error {
            Some(Error::Invalid(text)) => return Err(Error::Invalid(text.clone())),
            Some(Error::BadAlias(text)) => return Err(Error::BadAlias(text.clone())),
            _ => {}
        }
    }
    Ok(())
}

/// Refuses power levels that name a creator, whose power is beyond numbers since version 12. The
/// rules deny the event, too; this tells the client that its request makes no sense.
fn check_creators(head: &Head, content: &CanonicalJsonObject) -> Result<(), Error> {
    let levels = PowerLevels::of(head.state.core(), &head.version);
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
