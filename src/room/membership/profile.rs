//! Showing a changed profile in the rooms of a user.

use futures::future::join_all;
use ruma::events::room::member::MembershipState;
use serde_json::Value;
use storage::memberships;

use super::{Profile, set};
use crate::{Error, Rooms, Sender, state::AUTHORISED_VIA};

impl Rooms {
    /// Writes the user's profile into the member event of every joined room, all at once; when
    /// some fail, returns the first failure.
    #[tracing::instrument(name = "room.update_profile", skip_all, fields(user.id = %sender.user_id), err(level = "debug"))]
    pub async fn update_profile(&self, sender: &Sender, profile: &Profile) -> Result<(), Error> {
        let user_id = &*sender.user_id;
        let rooms = {
            let mut db = self.0.database.acquire().await?;
            memberships::joined_rooms(&mut db, user_id).await?
        };
        let updates = rooms.iter().map(|room_id| {
            self.write(room_id, 1, |appender| {
                let member = appender.event("m.room.member", user_id.as_str())?;
                let content = member.and_then(|pdu| pdu.content_as::<Value>().ok());
                let Some(Value::Object(before)) = content else {
                    return Ok(());
                };
                if appender.head().state.membership(user_id) != MembershipState::Join {
                    return Ok(());
                }
                let mut extra = before.clone();
                for field in ["displayname", "avatar_url", "reason", AUTHORISED_VIA] {
                    extra.remove(field);
                }
                let content = profile.member_content("join", extra);
                if content == Value::Object(before) {
                    return Ok(());
                }
                set(appender, user_id, user_id, content).map(|_| ())
            })
        });
        join_all(updates).await.into_iter().collect()
    }
}
