//! Private data that a user's clients share, for the account and by room.

use ruma::{OwnedUserId, RoomId, UserId, events::ignored_user_list::IgnoredUserListEventContent};
use serde_json::{Map, Value};
use storage::{AccountDataUpdate, Connection, UserChange, stream::AccountData};
use types::RoomNid;

use crate::{Error, Identity, Result};

/// Types that have their own endpoints. Spec: client-server, "Client Config".
const MANAGED: [&str; 2] = ["m.push_rules", "m.fully_read"];
/// The content of data that was deleted. It stays for a while, as clients learn from it.
pub(crate) const DELETED: &str = "{}";
/// The longest type, in bytes.
const MAX_EVENT_TYPE: usize = 255;
/// The largest content of one type, in bytes: all of it is sent to every new device.
const MAX_CONTENT: usize = 512 * 1024;

impl Identity {
    /// The content of one type of data, JSON text.
    pub async fn account_data(
        &self,
        user_id: &UserId,
        room_id: Option<&RoomId>,
        event_type: &str,
    ) -> Result<String> {
        check_event_type(event_type)?;
        let mut db = self.0.database.acquire().await?;
        let room_nid = room_nid(&mut db, room_id).await?;
        let content = storage::account_data::find(&mut db, user_id, room_nid, event_type).await?;
        let content = content.filter(|content| content != DELETED);
        content.ok_or(Error::NotFound("There is no account data of this type"))
    }

    /// All data of a room: types with their contents.
    pub async fn room_account_data(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
    ) -> Result<Vec<(String, String)>> {
        let mut db = self.0.database.acquire().await?;
        let Some(room_nid) = room_nid(&mut db, Some(room_id)).await? else {
            return Ok(Vec::new());
        };
        let mut data = storage::account_data::of_room(&mut db, user_id, room_nid).await?;
        data.retain(|(_, content)| content != DELETED);
        Ok(data)
    }

    /// Deletes one type of data (MSC3391), if there is any.
    pub async fn delete_account_data(
        &self,
        user_id: &UserId,
        room_id: Option<&RoomId>,
        event_type: &str,
    ) -> Result<()> {
        self.set_account_data(user_id, room_id, event_type, DELETED)
            .await
    }

    /// Replaces the content of one type of data, a JSON object; an empty one deletes it.
    pub async fn set_account_data(
        &self,
        user_id: &UserId,
        room_id: Option<&RoomId>,
        event_type: &str,
        content: &str,
    ) -> Result<()> {
        check_event_type(event_type)?;
        if MANAGED.contains(&event_type) {
            return Err(Error::ManagedAccountData);
        }
        if content.len() > MAX_CONTENT {
            return Err(Error::TooLarge("Account data of one type is too large"));
        }
        let object: Map<String, Value> = serde_json::from_str(content)
            .map_err(|_| Error::BadJson("Account data must be a JSON object"))?;
        let content = if object.is_empty() { DELETED } else { content };
        let room_nid = {
            let mut db = self.0.database.acquire().await?;
            let room_nid = room_nid(&mut db, room_id).await?;
            if object.is_empty() {
                let find = storage::account_data::find(&mut db, user_id, room_nid, event_type);
                if find.await?.is_none_or(|present| present == DELETED) {
                    return Ok(());
                }
            }
            self.check_account_data_size(&mut db, user_id, room_nid, event_type, content)
                .await?;
            room_nid
        };
        let change = UserChange::AccountData(AccountData {
            user_id: user_id.to_owned(),
            room_nid,
            event_type: event_type.to_owned(),
            content: content.to_owned(),
        });
        let changes = [change].into_iter().collect();
        self.0.committer.commit_changes(changes).await?;
        Ok(())
    }

    /// Checks that all account data of the user stays below the limit with this content, or at least gets no larger.
    ///
    /// Requests in parallel may take it over the limit, each by its own content.
    async fn check_account_data_size(
        &self,
        db: &mut Connection,
        user_id: &UserId,
        room_nid: Option<RoomNid>,
        event_type: &str,
        content: &str,
    ) -> Result<()> {
        let limits = &self.0.settings.limits;
        let (all, replaced) =
            storage::account_data::sizes(db, user_id, room_nid, event_type).await?;
        let new = i64::try_from(content.len() + event_type.len()).unwrap_or(i64::MAX);
        let limit = i64::try_from(limits.account_data_per_user.get()).unwrap_or(i64::MAX);
        if new > replaced && all - replaced + new > limit {
            return Err(limits.too_much_account_data().into());
        }
        Ok(())
    }

    /// Replaces data by what `change` makes of its content; decides anew when it has been changed
    /// meanwhile.
    pub(crate) async fn update_account_data(
        &self,
        user_id: &UserId,
        room_nid: Option<RoomNid>,
        event_type: &str,
        change: impl Fn(Option<&str>) -> Result<String>,
    ) -> Result<()> {
        loop {
            let replaces = {
                let mut db = self.0.database.acquire().await?;
                storage::account_data::find(&mut db, user_id, room_nid, event_type).await?
            };
            let data = AccountData {
                user_id: user_id.to_owned(),
                room_nid,
                event_type: event_type.to_owned(),
                content: change(replaces.as_deref())?,
            };
            let update = AccountDataUpdate { data, replaces };
            if self.0.committer.replace_account_data(update).await? {
                return Ok(());
            }
        }
    }

    /// Makes a room a direct chat with those with whom another is one.
    ///
    /// Spec: client-server, "Room upgrades".
    pub async fn copy_direct_chat(
        &self,
        user_id: &UserId,
        from: &RoomId,
        to: &RoomId,
    ) -> Result<()> {
        const EVENT_TYPE: &str = "m.direct";
        let content = {
            let mut db = self.0.database.acquire().await?;
            storage::account_data::find(&mut db, user_id, None, EVENT_TYPE).await?
        };
        if with_direct_chat(content.as_deref(), from, to).is_none() {
            return Ok(());
        }
        let changed = |before: Option<&str>| {
            let changed = with_direct_chat(before, from, to);
            let content = changed.or_else(|| before.map(str::to_owned));
            let content = content.unwrap_or_else(|| "{}".to_owned());
            if content.len() > MAX_CONTENT {
                return Err(Error::TooLarge("Account data of one type is too large"));
            }
            Ok(content)
        };
        self.update_account_data(user_id, None, EVENT_TYPE, changed)
            .await
    }

    /// The users that the user ignores.
    pub async fn ignored_users(&self, user_id: &UserId) -> Result<Vec<OwnedUserId>> {
        let mut db = self.0.database.acquire().await?;
        let event_type = "m.ignored_user_list";
        let content = storage::account_data::find(&mut db, user_id, None, event_type).await?;
        // Written by clients; an unreadable list is empty.
        let list = content
            .and_then(|content| serde_json::from_str::<IgnoredUserListEventContent>(&content).ok());
        Ok(list.map_or_else(Vec::new, |list| list.ignored_users.into_keys().collect()))
    }
}

/// The room's nid; `None` for global account data, an error if the room is unknown.
pub(crate) async fn room_nid(
    db: &mut Connection,
    room_id: Option<&RoomId>,
) -> Result<Option<RoomNid>> {
    let Some(room_id) = room_id else {
        return Ok(None);
    };
    if room_id.as_str().contains('\0') {
        return Err(Error::UnknownRoom);
    }
    let room = storage::rooms::find(db, room_id)
        .await?
        .ok_or(Error::UnknownRoom)?;
    Ok(Some(room.room_nid))
}

/// The content of `m.direct` with one room beside another; none if nothing changes by that. Clients
/// write it: what they have written wrong stays as it is.
fn with_direct_chat(content: Option<&str>, from: &RoomId, to: &RoomId) -> Option<String> {
    let mut content: Map<String, Value> = serde_json::from_str(content?).ok()?;
    let mut has_changed = false;
    for rooms in content.values_mut().filter_map(Value::as_array_mut) {
        let has = |rooms: &[Value], room_id: &RoomId| {
            rooms
                .iter()
                .any(|room| room.as_str() == Some(room_id.as_str()))
        };
        if has(rooms, from) && !has(rooms, to) {
            rooms.push(to.as_str().into());
            has_changed = true;
        }
    }
    has_changed.then(|| Value::Object(content).to_string())
}

fn check_event_type(event_type: &str) -> Result<()> {
    if event_type.is_empty() || event_type.len() > MAX_EVENT_TYPE || event_type.contains('\0') {
        return Err(Error::InvalidParam("The type of account data is not valid"));
    }
    Ok(())
}
