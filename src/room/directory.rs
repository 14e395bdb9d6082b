//! The public room directory.
//!
//! Spec: client-server, "Published room directory".

use std::collections::HashMap;

use event::{PowerLevels, RoomVersion, State};
use ruma::{OwnedRoomId, RoomId, events::room::member::MembershipState};
use serde::Deserialize;
use storage::{events, memberships, rooms};
use types::RoomNid;

use crate::{Error, Rooms, Sender};

/// The state that a listing is made of.
const SHOWN: [&str; 9] = [
    "m.room.create",
    "m.room.name",
    "m.room.topic",
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.power_levels",
];
/// The most rooms on a page.
const MAX_PAGE: usize = 500;

/// Which rooms are asked for.
#[derive(Clone, Debug, Default)]
pub struct DirectoryQuery {
    /// Rooms whose name, topic or alias contains this, in any case.
    pub search: Option<String>,
    /// Rooms of these types; `None` among them stands for rooms without one.
    pub room_types: Option<Vec<Option<String>>>,
    /// How many at the most.
    pub limit: Option<usize>,
    /// Where the page starts: the token of the page before.
    pub from: Option<String>,
}

/// A page of the directory, the largest rooms first.
#[derive(Clone, Debug)]
pub struct DirectoryPage {
    /// The rooms.
    pub rooms: Vec<RoomListing>,
    /// How many rooms there are on all pages.
    pub total: usize,
    /// The token of the next page.
    pub next: Option<String>,
    /// The token of the page before.
    pub previous: Option<String>,
}

/// A room as the directory shows it.
#[derive(Clone, Debug)]
pub struct RoomListing {
    /// The room.
    pub room_id: OwnedRoomId,
    /// How many users are joined.
    pub joined_members: u64,
    /// Its name.
    pub name: Option<String>,
    /// Its topic.
    pub topic: Option<String>,
    /// Its canonical alias.
    pub canonical_alias: Option<String>,
    /// Its avatar.
    pub avatar_url: Option<String>,
    /// Its type.
    pub room_type: Option<String>,
    /// Who may join.
    pub join_rule: Option<String>,
    /// Whether everybody may read.
    pub world_readable: bool,
    /// Whether guests may join.
    pub guest_can_join: bool,
}

impl Rooms {
    /// A page of the rooms that are listed.
    #[tracing::instrument(name = "room.directory", skip_all, err(level = "debug"))]
    pub async fn directory(&self, query: &DirectoryQuery) -> Result<DirectoryPage, Error> {
        let from = match &query.from {
            Some(token) => token
                .parse::<usize>()
                .map_err(|_| Error::Invalid("This is not a page of the directory".to_owned()))?,
            None => 0,
        };
        let limit = query.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let mut listings = self.listings().await?;
        listings.retain(|listing| query.wants(listing));
        listings.sort_by(|a, b| {
            b.joined_members
                .cmp(&a.joined_members)
                .then_with(|| a.room_id.cmp(&b.room_id))
        });
        let total = listings.len();
        let rooms: Vec<_> = listings.into_iter().skip(from).take(limit).collect();
        let end = from + rooms.len();
        Ok(DirectoryPage {
            rooms,
            total,
            next: (end < total).then(|| end.to_string()),
            previous: (from > 0).then(|| from.saturating_sub(limit).to_string()),
        })
    }

    /// All listed rooms; three queries, whatever their number.
    async fn listings(&self) -> Result<Vec<RoomListing>, Error> {
        let mut db = self.0.database.acquire().await?;
        let rooms = rooms::in_directory(&mut db).await?;
        let nids: Vec<RoomNid> = rooms.iter().map(|room| room.room_nid).collect();
        let mut states: HashMap<RoomNid, State> = HashMap::new();
        for event in events::current_state_of(&mut db, &nids, &SHOWN).await? {
            states.entry(event.room_nid).or_default().insert(event.pdu);
        }
        let joined: HashMap<_, _> = memberships::joined_counts(&mut db, &nids)
            .await?
            .into_iter()
            .collect();
        Ok(rooms
            .into_iter()
            .map(|room| {
                let state = states.remove(&room.room_nid).unwrap_or_default();
                let joined = joined.get(&room.room_nid).copied().unwrap_or_default();
                RoomListing::of(room.room_id, &state, joined as u64)
            })
            .collect())
    }

    /// Whether the room is listed.
    pub async fn is_in_directory(&self, room_id: &RoomId) -> Result<bool, Error> {
        let mut db = self.0.database.acquire().await?;
        Ok(rooms::find(&mut db, room_id)
            .await?
            .ok_or(Error::UnknownRoom)?
            .in_directory)
    }

    /// Lists the room, or takes it off the list: for those who may set its canonical alias.
    pub async fn set_in_directory(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        in_directory: bool,
    ) -> Result<(), Error> {
        let head = self.head(room_id).await?;
        let levels = PowerLevels::of(head.state.core(), &head.version);
        let is_joined = head.state.membership(&sender.user_id) == MembershipState::Join;
        if !is_joined || !levels.can_send(&sender.user_id, "m.room.canonical_alias", true) {
            return Err(Error::Forbidden(
                "You may not change how this room is listed",
            ));
        }
        let mut db = self.0.database.acquire().await?;
        Ok(rooms::set_in_directory(&mut db, head.room_nid, in_directory).await?)
    }

    /// The version of a room.
    pub async fn version(&self, room_id: &RoomId) -> Result<RoomVersion, Error> {
        Ok(self.head(room_id).await?.version)
    }
}

impl DirectoryQuery {
    fn wants(&self, listing: &RoomListing) -> bool {
        let of_type = self
            .room_types
            .as_ref()
            .is_none_or(|types| types.contains(&listing.room_type));
        let found = self.search.as_ref().is_none_or(|term| {
            let term = term.to_lowercase();
            [&listing.name, &listing.topic, &listing.canonical_alias]
                .into_iter()
                .flatten()
                .any(|text| text.to_lowercase().contains(&term))
        });
        of_type && found
    }
}

#[derive(Default, Deserialize)]
struct Content {
    name: Option<String>,
    topic: Option<String>,
    url: Option<String>,
    alias: Option<String>,
    #[serde(rename = "type")]
    room_type: Option<String>,
    join_rule: Option<String>,
    history_visibility: Option<String>,
    guest_access: Option<String>,
}

impl RoomListing {
    fn of(room_id: OwnedRoomId, state: &State, joined_members: u64) -> Self {
        let content = |event_type: &str| {
            state
                .get(event_type, "")
                .and_then(|pdu| pdu.content_as::<Content>().ok())
                .unwrap_or_default()
        };
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Self {
            room_id,
            joined_members,
            name: given(content("m.room.name").name),
            topic: given(content("m.room.topic").topic),
            canonical_alias: given(content("m.room.canonical_alias").alias),
            avatar_url: given(content("m.room.avatar").url),
            room_type: content("m.room.create").room_type,
            join_rule: content("m.room.join_rules").join_rule,
            world_readable: content("m.room.history_visibility")
                .history_visibility
                .as_deref()
                == Some("world_readable"),
            guest_can_join: content("m.room.guest_access").guest_access.as_deref()
                == Some("can_join"),
        }
    }
}
