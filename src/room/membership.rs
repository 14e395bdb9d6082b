//! Joining, inviting, leaving: everything that changes who is in a room.

use futures::future::join_all;
use ruma::{
    OwnedEventId, OwnedRoomId, RoomId, UserId,
    events::{TimelineEventType, room::member::MembershipState},
};
use serde_json::{Map, Value};
use storage::memberships;
use types::RoomNid;

use crate::{
    Error, Rooms, Sender,
    append::{EventAppender, NewEvent},
    content::raw,
};

mod join;
mod profile;
mod restricted;

/// A user's profile in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The display name.
    pub displayname: Option<String>,
    /// The avatar, an `mxc:` URI.
    pub avatar_url: Option<String>,
}

/// What one user does to another's membership.
#[derive(Clone, Debug)]
pub enum MembershipChange {
    /// Asks to join; the target's profile is shown.
    Invite {
        /// How the invited user shows.
        profile: Profile,
        /// Whether it is to a direct chat.
        is_direct: bool,
    },
    /// Removes a member, or takes back an invitation or turns down a knock.
    Kick,
    /// Removes and keeps out.
    Ban,
    /// Lets come back.
    Unban,
}

impl Profile {
    /// The content of a member event.
    pub(crate) fn member_content(&self, membership: &str, extra: Map<String, Value>) -> Value {
        let mut content = extra;
        content.insert("membership".to_owned(), membership.into());
        if let Some(displayname) = &self.displayname {
            content.insert("displayname".to_owned(), displayname.as_str().into());
        }
        if let Some(avatar_url) = &self.avatar_url {
            content.insert("avatar_url".to_owned(), avatar_url.as_str().into());
        }
        Value::Object(content)
    }
}

impl Rooms {
    /// Changes another user's membership, if the rules allow it.
    #[tracing::instrument(name = "room.change_membership", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn change_membership(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        target: &UserId,
        change: MembershipChange,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let sender = &*sender.user_id;
        self.await_target(room_id, sender, target)
            .await
            .map_err(Error::hiding_unknown_room)?;
        let event = |appender: &mut EventAppender<'_>| {
            appender.head().require_member(sender)?;
            let before = appender.head().state.membership(target);
            let content = match &change {
                MembershipChange::Invite { profile, is_direct } => {
                    let mut extra = Map::new();
                    if *is_direct {
                        extra.insert("is_direct".to_owned(), Value::Bool(true));
                    }
                    profile.member_content("invite", extra)
                }
                MembershipChange::Kick => {
                    let there = [
                        MembershipState::Join,
                        MembershipState::Invite,
                        MembershipState::Knock,
                    ];
                    if !there.contains(&before) {
                        return Err(Error::Forbidden("The user is not in the room"));
                    }
                    member_content_with_profile(appender, target, "leave")?
                }
                MembershipChange::Ban => member_content_with_profile(appender, target, "ban")?,
                MembershipChange::Unban => {
                    if before != MembershipState::Ban {
                        return Err(Error::Forbidden("The user is not banned from the room"));
                    }
                    member_content_with_profile(appender, target, "leave")?
                }
            };
            member_event(sender, target, &with_reason(content, reason))
        };
        let is_invite = matches!(change, MembershipChange::Invite { .. });
        let changed = if is_invite && !self.is_local(target) {
            Box::pin(self.invite_remote(room_id, target, event)).await
        } else {
            let write = self.write(room_id, 1, |appender| {
                let event = event(appender)?;
                appender.append(event).map(|_| ())
            });
            write.await
        };
        changed.map_err(Error::hiding_unknown_room)
    }

    /// Waits for the whole state of a room, if it is not known what a user is to it.
    async fn await_target(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        target: &UserId,
    ) -> Result<(), Error> {
        let head = self.head(room_id).await?;
        if head.state.is_partial() && head.state.members().get(target.as_str()).is_none() {
            head.require_member(sender)?;
            Box::pin(self.whole_head(room_id)).await?;
        }
        Ok(())
    }

    /// Checks that a user may join one more room. Joins in parallel may exceed the limit by their number.
    pub(crate) async fn check_room_limit(&self, user_id: &UserId) -> Result<(), Error> {
        let limits = &self.0.settings.limits;
        let mut db = self.0.database.acquire().await?;
        let joined = memberships::joined_room_count(&mut db, user_id).await?;
        if joined >= i64::from(limits.rooms_per_user) {
            return Err(limits.too_many_rooms().into());
        }
        Ok(())
    }

    /// The rooms that a user is in.
    pub async fn joined_rooms(&self, user_id: &UserId) -> Result<Vec<OwnedRoomId>, Error> {
        let mut db = self.0.database.acquire().await?;
        Ok(memberships::joined_rooms(&mut db, user_id).await?)
    }

    /// The membership of a user in a room; none if the user never had to do with it, or forgot it.
    pub async fn membership(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Option<MembershipState>, Error> {
        let mut db = self.0.database.acquire().await?;
        let found = memberships::find(&mut db, room_id, user_id).await?;
        let found = found.filter(|membership| !membership.forgotten);
        Ok(found.map(|membership| membership.membership))
    }

    /// The rooms that both users are in.
    pub async fn mutual_rooms(
        &self,
        one: &UserId,
        other: &UserId,
    ) -> Result<Vec<OwnedRoomId>, Error> {
        let mut db = self.0.database.acquire().await?;
        Ok(memberships::mutual_rooms(&mut db, one, other).await?)
    }

    /// Leaves a room that this server takes part in, turns down an invitation or takes back a knock.
    pub(crate) async fn leave_here(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let user_id = &*sender.user_id;
        let left = self.write(room_id, 1, |appender| {
            let members = appender.head().state.members();
            if members.get(user_id.as_str()).is_none() {
                return Err(Error::NotInRoom);
            }
            match appender.head().state.membership(user_id) {
                MembershipState::Leave => Ok(()),
                MembershipState::Ban => Err(Error::NotInRoom),
                _ => {
                    let content = Profile::default().member_content("leave", Map::new());
                    set(appender, user_id, user_id, with_reason(content, reason)).map(|_| ())
                }
            }
        });
        left.await.map_err(Error::hiding_unknown_room)
    }

    /// Leaves all rooms and turns down all invitations, all at once; when some fail, returns the
    /// first failure.
    #[tracing::instrument(name = "room.leave_all", skip_all, fields(user.id = %sender.user_id), err(level = "debug"))]
    pub async fn leave_all(&self, sender: &Sender) -> Result<(), Error> {
        let rooms = {
            let mut db = self.0.database.acquire().await?;
            memberships::of_user(&mut db, &sender.user_id).await?
        };
        let there = [
            MembershipState::Join,
            MembershipState::Invite,
            MembershipState::Knock,
        ];
        let rooms = rooms.iter().filter(|room| there.contains(&room.membership));
        let departures = rooms.map(|room| self.leave(&room.room_id, sender, None));
        join_all(departures).await.into_iter().collect()
    }

    /// Forgets a room that the user has left; returns its number, for what is in memory of it.
    pub async fn forget(&self, room_id: &RoomId, user_id: &UserId) -> Result<RoomNid, Error> {
        let mut db = self.0.database.acquire().await?;
        let membership = memberships::find(&mut db, room_id, user_id)
            .await?
            .ok_or(Error::UnknownRoom)?;
        if memberships::forget(&mut db, membership.room_nid, user_id).await? {
            Ok(membership.room_nid)
        } else {
            Err(Error::StillInRoom)
        }
    }
}

/// Adds a member event.
fn set(
    appender: &mut EventAppender<'_>,
    sender: &UserId,
    target: &UserId,
    content: Value,
) -> Result<OwnedEventId, Error> {
    appender.append(member_event(sender, target, &content)?)
}

fn member_event(sender: &UserId, target: &UserId, content: &Value) -> Result<NewEvent, Error> {
    Ok(NewEvent::state(
        sender.to_owned(),
        TimelineEventType::RoomMember,
        target.as_str(),
        raw(content)?,
    ))
}

/// Member content that keeps the target's current profile, so that clients can name who was removed.
fn member_content_with_profile(
    appender: &mut EventAppender<'_>,
    target: &UserId,
    membership: &str,
) -> Result<Value, Error> {
    let member = appender.event("m.room.member", target.as_str())?;
    let profile = member
        .and_then(|pdu| pdu.content_as::<MemberProfile>().ok())
        .unwrap_or_default();
    let profile = Profile {
        displayname: profile.displayname,
        avatar_url: profile.avatar_url,
    };
    Ok(profile.member_content(membership, Map::new()))
}

#[derive(Default, serde::Deserialize)]
struct MemberProfile {
    displayname: Option<String>,
    avatar_url: Option<String>,
}

fn with_reason(mut content: Value, reason: Option<&str>) -> Value {
    if let (Value::Object(content), Some(reason)) = (&mut content, reason) {
        content.insert("reason".to_owned(), reason.into());
    }
    content
}
