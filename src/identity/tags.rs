//! Room tags; stored as `m.tag` account data of the room.

use ruma::{RoomId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use storage::Connection;
use types::RoomNid;

use crate::{Error, Identity, Result, account_data::room_nid};

const EVENT_TYPE: &str = "m.tag";
/// The longest tag, in bytes. Spec: client-server, "Room Tagging".
const MAX_TAG: usize = 255;
/// The largest size of the tags of one room, in bytes of JSON.
const MAX_TAGS: usize = 64 * 1024;

/// The content of `m.tag`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Content {
    #[serde(default)]
    tags: Map<String, Value>,
}

impl Identity {
    /// The tags of a room with their contents.
    pub async fn tags(&self, user_id: &UserId, room_id: &RoomId) -> Result<Map<String, Value>> {
        let mut db = self.0.database.acquire().await?;
        let room_nid = room_nid(&mut db, Some(room_id)).await?;
        Ok(read(&mut db, user_id, room_nid).await?.tags)
    }

    /// Tags a room.
    pub async fn add_tag(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        tag: String,
        info: Map<String, Value>,
    ) -> Result<()> {
        if tag.len() > MAX_TAG {
            return Err(Error::InvalidParam("The tag is too long"));
        }
        self.change_tags(user_id, room_id, |tags| {
            tags.insert(tag.clone(), Value::Object(info.clone()));
        })
        .await
    }

    /// Removes a tag of a room, if it exists.
    pub async fn remove_tag(&self, user_id: &UserId, room_id: &RoomId, tag: &str) -> Result<()> {
        self.change_tags(user_id, room_id, |tags| {
            tags.remove(tag);
        })
        .await
    }

    /// Gives a room the tags that the user has given another, as far as it has not the same itself.
    ///
    /// Spec: client-server, "Room upgrades".
    pub async fn copy_tags(&self, user_id: &UserId, from: &RoomId, to: &RoomId) -> Result<()> {
        let tags = match self.tags(user_id, from).await {
            // Nothing is known of a room that the user was never in.
            Err(Error::UnknownRoom) => return Ok(()),
            tags => tags?,
        };
        if tags.is_empty() {
            return Ok(());
        }
        self.change_tags(user_id, to, |present| {
            for (tag, info) in &tags {
                present.entry(tag).or_insert_with(|| info.clone());
            }
        })
        .await
    }

    async fn change_tags(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        change: impl Fn(&mut Map<String, Value>),
    ) -> Result<()> {
        let room_nid = {
            let mut db = self.0.database.acquire().await?;
            room_nid(&mut db, Some(room_id)).await?
        };
        let changed = |content: Option<&str>| {
            let mut content = parse(content);
            change(&mut content.tags);
            let content = serde_json::to_string(&content)?;
            if content.len() > MAX_TAGS {
                return Err(Error::TooLarge("The room has too many tags"));
            }
            Ok(content)
        };
        self.update_account_data(user_id, room_nid, EVENT_TYPE, changed)
            .await
    }
}

async fn read(db: &mut Connection, user_id: &UserId, room_nid: Option<RoomNid>) -> Result<Content> {
    let content = storage::account_data::find(db, user_id, room_nid, EVENT_TYPE).await?;
    Ok(parse(content.as_deref()))
}

/// Clients can write this directly; unreadable content holds no tags.
fn parse(content: Option<&str>) -> Content {
    content
        .and_then(|content| serde_json::from_str(content).ok())
        .unwrap_or_default()
}
