//! Joining and knocking.

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState};
use serde_json::{Map, Value};

use super::{Profile, restricted, set, with_reason};
use crate::{Error, Rooms, Sender, head::Head, state::AUTHORISED_VIA};

impl Rooms {
    /// Joins a room, with further content for the member event. Joining again is no error and
    /// adds no event.
    #[tracing::instrument(name = "room.join", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn join(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        profile: Profile,
        mut content: Map<String, Value>,
    ) -> Result<(), Error> {
        for ours in ["membership", "displayname", "avatar_url", AUTHORISED_VIA] {
            content.remove(ours);
        }
        let user_id = &*sender.user_id;
        let head = self.head(room_id).await?;
        if head.state.membership(user_id) != MembershipState::Join {
            self.check_room_limit(user_id).await?;
        }
        let granting = self.granting_rooms(room_id, user_id).await?;
        self.write(room_id, 1, |appender| {
            if appender.head().state.membership(user_id) == MembershipState::Join {
                return Ok(());
            }
            let mut extra = content.clone();
            if let Some(authoriser) = self.authoriser(appender.head(), user_id, &granting)? {
                extra.insert(
                    AUTHORISED_VIA.to_owned(),
                    Value::String(authoriser.to_string()),
                );
            }
            let content = profile.member_content("join", extra);
            set(appender, user_id, user_id, content).map(|_| ())
        })
        .await
    }

    /// Asks the members of a room to be let in.
    #[tracing::instrument(name = "room.knock", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn knock(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        profile: Profile,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let user_id = &*sender.user_id;
        self.write(room_id, 1, |appender| {
            let content = profile.member_content("knock", Map::new());
            set(appender, user_id, user_id, with_reason(content, reason)).map(|_| ())
        })
        .await
    }

    /// Those of the rooms that grant joining a restricted room to their members which the user is
    /// a member of. Of rooms that this server is not in any more it does not know who is.
    async fn granting_rooms(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Vec<OwnedRoomId>, Error> {
        let head = self.head(room_id).await?;
        let mut granting = Vec::new();
        for room in restricted::allowed_rooms(&head, user_id).unwrap_or_default() {
            match self.head(&room).await {
                Ok(other)
                    if self.is_resident(&other)
                        && other.state.membership(user_id) == MembershipState::Join =>
                {
                    granting.push(room);
                }
                Ok(_) | Err(Error::UnknownRoom) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(granting)
    }

    /// Who vouches for a user that joins a restricted room without an invitation; none when
    /// nobody needs to. Decided by the room as it is when the join is added to it.
    fn authoriser(
        &self,
        head: &Head,
        user_id: &UserId,
        granting: &[OwnedRoomId],
    ) -> Result<Option<OwnedUserId>, Error> {
        let Some(allowed) = restricted::allowed_rooms(head, user_id) else {
            return Ok(None);
        };
        if !allowed.iter().any(|room| granting.contains(room)) {
            return Err(Error::JoinNotGranted);
        }
        let found = restricted::authoriser(head, |user| self.is_local(user));
        found.map(Some).ok_or(Error::CannotGrantJoin)
    }

    /// The same for a user of another server, which can ask others if this one does not know enough.
    pub(crate) async fn authoriser_for_remote(
        &self,
        head: &Head,
        user_id: &UserId,
    ) -> Result<Option<OwnedUserId>, Error> {
        let granting = self.granting_rooms(head.state.room_id(), user_id).await?;
        let authoriser = self.authoriser(head, user_id, &granting);
        if matches!(authoriser, Err(Error::JoinNotGranted)) {
            for room in restricted::allowed_rooms(head, user_id).unwrap_or_default() {
                if !self.takes_part(&room).await? {
                    return Err(Error::CannotAuthoriseJoin);
                }
            }
        }
        authoriser
    }
}
