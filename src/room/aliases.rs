//! Room aliases.
//!
//! Spec: client-server, "Room aliases".

use std::cmp::Reverse;

use event::PowerLevels;
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedServerName, RoomAliasId, RoomId, UserId,
    events::{TimelineEventType, room::member::MembershipState},
};
use serde::Deserialize;
use serde_json::Value;
use storage::rooms;

use types::{Admin, ManageAliases};

use crate::{Error, Rooms, Sender, append::NewEvent, content::raw, remote::joined_by_server};

/// The most servers that are named to somebody who wants to join a room.
const MAX_SERVERS: usize = 20;

/// The content of `m.room.canonical_alias`. The aliases are text, as they may be anything.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct CanonicalAliases {
    alias: Option<String>,
    #[serde(default)]
    alt_aliases: Vec<String>,
}

impl CanonicalAliases {
    pub(crate) fn read(content: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(content)
    }

    /// All aliases that the event names; an empty one counts as none.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        let alias = self.alias.as_deref().filter(|alias| !alias.is_empty());
        alias
            .into_iter()
            .chain(self.alt_aliases.iter().map(String::as_str))
    }
}

impl Rooms {
    /// Makes an alias for a room, by one of its members.
    pub async fn create_alias(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        alias: &RoomAliasId,
    ) -> Result<(), Error> {
        if alias.server_name() != self.0.settings.server_name {
            return Err(Error::Remote(alias.to_string()));
        }
        let head = self
            .head(room_id)
            .await
            .map_err(Error::hiding_unknown_room)?;
        if head.state.membership(&sender.user_id) != MembershipState::Join {
            return Err(Error::NotInRoom);
        }
        let mut db = self.0.database.acquire().await?;
        if rooms::insert_alias(&mut db, alias, head.room_nid, &sender.user_id).await? {
            Ok(())
        } else {
            Err(Error::AliasTaken(alias.to_owned()))
        }
    }

    /// The room that an alias points to.
    pub async fn resolve_alias(&self, alias: &RoomAliasId) -> Result<OwnedRoomId, Error> {
        let mut db = self.0.database.acquire().await?;
        let found = rooms::find_alias(&mut db, alias).await?;
        Ok(found.ok_or(Error::UnknownAlias)?.room_id)
    }

    /// Servers by which a room can be joined: this one, then those with the most members.
    pub async fn servers(&self, room_id: &RoomId) -> Result<Vec<OwnedServerName>, Error> {
        let head = self.head(room_id).await?;
        let own_name = &self.0.settings.server_name;
        let mut members = joined_by_server(&head);
        for server in head.state.stated_servers() {
            members.entry(server).or_default();
        }
        let others = members.into_iter();
        let others = others.filter(|(server, _)| **server != **own_name);
        let mut others: Vec<_> = others.collect();
        others.sort_unstable_by_key(|(server, members)| (Reverse(*members), *server));
        let others = others.into_iter().map(|(server, _)| server.to_owned());
        let servers = [own_name.clone()].into_iter().chain(others);
        Ok(servers.take(MAX_SERVERS).collect())
    }

    /// Removes an alias: allowed to its creator, to users who may set the room's canonical alias, and
    /// to administrators. It is removed from the canonical alias event too, if the user may set that.
    pub async fn delete_alias(
        &self,
        sender: &Sender,
        alias: &RoomAliasId,
        admin: Option<&Admin<ManageAliases>>,
    ) -> Result<(), Error> {
        let user_id = &*sender.user_id;
        let found = {
            let mut db = self.0.database.acquire().await?;
            rooms::find_alias(&mut db, alias)
                .await?
                .ok_or(Error::UnknownAlias)?
        };
        let head = self.head(&found.room_id).await?;
        let levels = PowerLevels::of(head.state.core(), &head.version);
        let may_set = levels.can_send(user_id, "m.room.canonical_alias", true);
        if found.creator != *user_id && !may_set && admin.is_none() {
            return Err(Error::Forbidden("You may not remove this alias"));
        }
        {
            let mut db = self.0.database.acquire().await?;
            if !rooms::delete_alias(&mut db, alias).await? {
                return Err(Error::UnknownAlias);
            }
        }
        if may_set {
            self.drop_from_canonical(&found.room_id, user_id, alias)
                .await
        } else {
            Ok(())
        }
    }

    async fn drop_from_canonical(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
        alias: &RoomAliasId,
    ) -> Result<(), Error> {
        let result = self
            .write(room_id, 1, |appender| {
                let present = appender
                    .head()
                    .state
                    .core()
                    .get("m.room.canonical_alias", "");
                let content = present.and_then(|pdu| pdu.content_as::<Value>().ok());
                let Some(Value::Object(before)) = content else {
                    return Ok(());
                };
                let mut after = before.clone();
                if after.get("alias").and_then(Value::as_str) == Some(alias.as_str()) {
                    after.remove("alias");
                }
                if let Some(Value::Array(others)) = after.get_mut("alt_aliases") {
                    others.retain(|other| other.as_str() != Some(alias.as_str()));
                }
                if after == before {
                    return Ok(());
                }
                appender
                    .append(NewEvent::state(
                        user_id.to_owned(),
                        TimelineEventType::RoomCanonicalAlias,
                        "",
                        raw(&Value::Object(after))?,
                    ))
                    .map(|_| ())
            })
            .await;
        match result {
            // Who is not in the room can remove the alias, but not speak in the room.
            Err(Error::Denied(_)) => Ok(()),
            result => result,
        }
    }

    /// The aliases of a room, for its members, or for all if its history is world-readable.
    pub async fn aliases(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Vec<OwnedRoomAliasId>, Error> {
        self.state_viewpoint(room_id, user_id).await?;
        let room_nid = self.head(room_id).await?.room_nid;
        let mut db = self.0.database.acquire().await?;
        Ok(rooms::aliases(&mut db, room_nid).await?)
    }
}
