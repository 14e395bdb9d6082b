//! Drafting events by which users of other servers come into rooms here, or out of them.

use event::handshake::{MembershipRequest, Residence};
use federation::Template;
use ruma::{
    RoomId, RoomVersionId, ServerName, UserId,
    events::{TimelineEventType, room::member::MembershipState},
};
use serde_json::value::RawValue;

use super::respond::require_whole_state;
use crate::{Error, Rooms, append::NewEvent, head::Head, rooms::RequestedWrite};

impl Rooms {
    /// The event by which a user of another server may join a room; that server speaks `versions`.
    #[tracing::instrument(name = "room.make_join", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn make_join(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
        versions: &[RoomVersionId],
    ) -> Result<Template, Error> {
        let head = self.head_for(origin, room_id, user_id).await?;
        require_whole_state(&head)?;
        check_version(&head, versions)?;
        let authoriser = self.authoriser_for_remote(&head, user_id).await?;
        self.member_template(head, user_id, MembershipState::Join, authoriser.as_deref())
            .await
    }

    /// The event by which a user of another server may leave a room, turn down an invitation to it
    /// or take back a knock.
    #[tracing::instrument(name = "room.make_leave", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn make_leave(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Template, Error> {
        let head = self.head_for(origin, room_id, user_id).await?;
        let there = [
            MembershipState::Join,
            MembershipState::Invite,
            MembershipState::Knock,
        ];
        if !there.contains(&head.state.membership(user_id)) {
            return Err(Error::NotInRoom);
        }
        self.member_template(head, user_id, MembershipState::Leave, None)
            .await
    }

    /// The event by which a user of another server may knock at a room.
    #[tracing::instrument(name = "room.make_knock", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn make_knock(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
        versions: &[RoomVersionId],
    ) -> Result<Template, Error> {
        let head = self.head_for(origin, room_id, user_id).await?;
        require_whole_state(&head)?;
        check_version(&head, versions)?;
        self.member_template(head, user_id, MembershipState::Knock, None)
            .await
    }

    /// The head of a room that this server takes part in, for a user of another server whom that
    /// server asks for.
    async fn head_for(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Head, Error> {
        if user_id.server_name() != origin {
            return Err(Error::Forbidden("The user is not of your server"));
        }
        self.resident_head(origin, room_id).await
    }

    async fn member_template(
        &self,
        head: Head,
        user_id: &UserId,
        membership: MembershipState,
        authorised_via: Option<&UserId>,
    ) -> Result<Template, Error> {
        let request = MembershipRequest {
            room_id: head.state.room_id().clone(),
            user_id: user_id.to_owned(),
            membership,
        };
        let event = NewEvent::state(
            user_id.to_owned(),
            TimelineEventType::RoomMember,
            user_id.as_str(),
            request.content(authorised_via)?,
        );
        let version = head.version.clone();
        let mut write = RequestedWrite {
            max_events: 1,
            append: &mut |appender| appender.prepare(&event),
        };
        let (prepared, _) = self.build(head, &mut write).await?;
        let residence = Residence {
            server_name: &self.0.settings.server_name,
            authorised_via,
            parents: &prepared.parents,
            now: self.0.clock.now(),
        };
        let event = request.template(&version, &residence)?;
        let event = RawValue::from_string(event);
        Ok(Template {
            version: version.id().clone(),
            event: event.map_err(|error| Error::BadContent(error.to_string()))?,
        })
    }
}

/// Fails if a server does not speak the version of a room.
fn check_version(head: &Head, versions: &[RoomVersionId]) -> Result<(), Error> {
    let version = head.version.id();
    if versions.contains(version) {
        Ok(())
    } else {
        Err(Error::IncompatibleVersion(version.clone()))
    }
}
