//! Replacing a room by one of another version.
//!
//! Spec: client-server, "Room upgrades"; rooms v12, "Room creators".

mod carried;

use event::{PowerLevels, RoomVersion};
use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, UserId,
    events::{TimelineEventType, room::member::MembershipState},
};
use serde_json::{Map, Value, json};

use crate::{
    Error, Profile, Rooms, Sender,
    append::{EventAppender, NewEvent},
    content::raw,
    create::{MAX_INVITES, NewRoomRequest},
    head::Head,
};

use carried::{CarriedState, power_levels};

/// What those may do at least who still send events to a room that was replaced, or invite to it.
const MIN_LEVEL: i64 = 50;

/// A request to replace a room.
#[derive(Clone, Debug)]
pub struct UpgradeRoom {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The version of its replacement.
    pub version: RoomVersionId,
    /// Users who count as creators besides the one who upgrades; without effect before version 12.
    pub additional_creators: Vec<OwnedUserId>,
}

impl Rooms {
    /// Replaces a room by a new one with the same settings, aliases and bans, and points from one to
    /// the other.
    #[tracing::instrument(name = "room.upgrade", skip_all, fields(room.id = %request.room_id), err(level = "debug"))]
    pub async fn upgrade(
        &self,
        sender: &Sender,
        profile: &Profile,
        request: &UpgradeRoom,
    ) -> Result<OwnedRoomId, Error> {
        let (room_id, user_id) = (&*request.room_id, &*sender.user_id);
        let version = RoomVersion::of(&request.version)
            .ok_or_else(|| Error::UnsupportedVersion(request.version.to_string()))?;
        let head = self.head(room_id).await;
        let head = head.map_err(Error::hiding_unknown_room)?;
        check_may_upgrade(&head, user_id)?;
        let creators = self.additional_creators(&version, request)?;
        self.check_room_limit(user_id).await?;
        let aliases = {
            let mut db = self.0.database.acquire().await?;
            storage::rooms::aliases(&mut db, head.room_nid).await?
        };
        let carried = CarriedState::of(self, &head, &aliases, creators).await?;
        let create = create_content(&head, &version, creators);
        let levels = power_levels(&head, &version, user_id, creators);
        let new = NewRoomRequest {
            creator: user_id,
            version: &version,
            // The create event, the creator's, and the power levels.
            events: carried.events.len() + 3,
            in_directory: false,
            alias: None,
        };
        let replacement = self
            .create_with(&new, &|room| {
                room.create_event(create.clone())?;
                room.join(profile)?;
                // Before there are power levels the creator may do everything.
                for (event_type, state_key, content) in &carried.events {
                    room.raw(event_type.clone(), state_key.clone(), content.clone())?;
                }
                match &levels {
                    Some(levels) => room.set(TimelineEventType::RoomPowerLevels, levels),
                    None => Ok(()),
                }
            })
            .await?;
        {
            let mut db = self.0.database.acquire().await?;
            storage::rooms::hand_over_names(&mut db, head.room_nid, &replacement).await?;
        }
        self.retire(room_id, user_id, &replacement).await?;
        Ok(replacement)
    }

    fn additional_creators<'r>(
        &self,
        version: &RoomVersion,
        request: &'r UpgradeRoom,
    ) -> Result<&'r [OwnedUserId], Error> {
        if !version.additional_creators() {
            return Ok(&[]);
        }
        let creators = &request.additional_creators;
        if creators.len() > MAX_INVITES {
            return Err(Error::Invalid(format!(
                "At most {MAX_INVITES} additional creators are allowed"
            )));
        }
        for user_id in creators {
            self.0.federation.policy().check(user_id.server_name())?;
        }
        Ok(creators)
    }

    /// Says in a room what replaces it, and lets only few go on in it, as far as the user may.
    async fn retire(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
        replacement: &RoomId,
    ) -> Result<(), Error> {
        let tombstone = json!({
            "body": "This room has been replaced",
            "replacement_room": replacement,
        });
        self.write(room_id, 3, |appender| {
            let restricted = restricted_levels(appender.head());
            let unnamed = without_aliases(appender.head());
            set(
                appender,
                user_id,
                TimelineEventType::RoomTombstone,
                &tombstone,
            )?;
            let further = [
                (TimelineEventType::RoomCanonicalAlias, unnamed),
                (TimelineEventType::RoomPowerLevels, restricted),
            ];
            for (event_type, content) in further {
                let Some(content) = content else {
                    continue;
                };
                match set(appender, user_id, event_type, &content) {
                    Ok(()) | Err(Error::Denied(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
        .await
    }
}

fn check_may_upgrade(head: &Head, user_id: &UserId) -> Result<(), Error> {
    if head.state.membership(user_id) != MembershipState::Join {
        return Err(Error::NotInRoom);
    }
    let levels = PowerLevels::of(head.state.core(), &head.version);
    if levels.can_send(user_id, "m.room.tombstone", true) {
        Ok(())
    } else {
        Err(Error::Forbidden("You may not upgrade this room"))
    }
}

/// The content of the create event, without what every create event has.
fn create_content(
    head: &Head,
    version: &RoomVersion,
    creators: &[OwnedUserId],
) -> Map<String, Value> {
    const KEPT: [&str; 2] = ["type", "m.federate"];
    let before = head.state.core().get("m.room.create", "");
    let before = before.and_then(|pdu| pdu.content_as::<Map<String, Value>>().ok());
    let mut content = before.unwrap_or_default();
    content.retain(|field, _| KEPT.contains(&field.as_str()));
    let mut predecessor = Map::new();
    predecessor.insert("room_id".to_owned(), json!(head.state.room_id()));
    let last = head.state.extremities().first();
    // Since version 12 the event that ends the old room names the hash of this one.
    if let Some((_, event_id)) = last
        && !version.room_id_is_create_hash()
    {
        predecessor.insert("event_id".to_owned(), json!(event_id));
    }
    content.insert("predecessor".to_owned(), predecessor.into());
    if !creators.is_empty() {
        content.insert("additional_creators".to_owned(), json!(creators));
    }
    content
}

/// The power levels of a room in which ordinary users neither speak nor invite any more; none if
/// they are that already.
fn restricted_levels(head: &Head) -> Option<Value> {
    let state = head.state.core();
    let levels = PowerLevels::of(state, &head.version);
    let pdu = state.get("m.room.power_levels", "")?;
    let before: Map<String, Value> = pdu.content_as().ok()?;
    let least = levels.users_default().saturating_add(1).max(MIN_LEVEL);
    let mut after = before.clone();
    after.insert(
        "events_default".to_owned(),
        levels.events_default().max(least).into(),
    );
    after.insert("invite".to_owned(), levels.invite().max(least).into());
    (after != before).then_some(Value::Object(after))
}

/// The content of the canonical alias event of a room whose aliases point to another; none if it
/// names none.
fn without_aliases(head: &Head) -> Option<Value> {
    let pdu = head.state.core().get("m.room.canonical_alias", "")?;
    let before: Map<String, Value> = pdu.content_as().ok()?;
    let mut after = before.clone();
    after.retain(|field, _| field != "alias" && field != "alt_aliases");
    (after != before).then_some(Value::Object(after))
}

fn set(
    appender: &mut EventAppender<'_>,
    sender: &UserId,
    event_type: TimelineEventType,
    content: &Value,
) -> Result<(), Error> {
    let event = NewEvent::state(sender.to_owned(), event_type, "", raw(content)?);
    appender.append(event).map(|_| ())
}
