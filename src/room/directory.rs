//! The public room directory.
//!
//! Spec: client-server, "Published room directory".

use std::collections::HashMap;

use event::{PowerLevels, RoomSummary, RoomVersion, State};
use ruma::{OwnedRoomId, RoomId, events::room::member::MembershipState};
use storage::{events, memberships, rooms};
use types::{Admin, ManageDirectory, RoomNid};

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
    /// Whether only rooms are wanted that users of other servers may come into.
    pub for_other_servers: bool,
}

/// A page of the directory, the largest rooms first.
#[derive(Clone, Debug)]
pub struct DirectoryPage {
    /// The rooms.
    pub rooms: Vec<RoomSummary>,
    /// How many rooms there are on all pages.
    pub total: usize,
    /// The token of the next page.
    pub next: Option<String>,
    /// The token of the page before.
    pub previous: Option<String>,
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
        let mut listings = self.listings(query.for_other_servers).await?;
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

    /// All listed rooms, or those that users of other servers may come into; three queries, whatever
    /// their number.
    async fn listings(&self, for_other_servers: bool) -> Result<Vec<RoomSummary>, Error> {
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
        let listings = rooms.into_iter().filter_map(|room| {
            let state = states.remove(&room.room_nid).unwrap_or_default();
            let joined = joined.get(&room.room_nid).copied().unwrap_or_default();
            let is_wanted = !for_other_servers || event::federates(&state);
            is_wanted.then(|| listing(room.room_id, &state, joined as u64))
        });
        Ok(listings.collect())
    }

    /// Whether the room is listed.
    pub async fn is_in_directory(&self, room_id: &RoomId) -> Result<bool, Error> {
        let mut db = self.0.database.acquire().await?;
        Ok(rooms::find(&mut db, room_id)
            .await?
            .ok_or(Error::UnknownRoom)?
            .in_directory)
    }

    /// Lists the room, or takes it off the list: for those who may set its canonical alias, and for
    /// administrators.
    pub async fn set_in_directory(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        in_directory: bool,
        admin: Option<&Admin<ManageDirectory>>,
    ) -> Result<(), Error> {
        let head = self.head(room_id).await?;
        let levels = PowerLevels::of(head.state.core(), &head.version);
        let is_joined = head.state.membership(&sender.user_id) == MembershipState::Join;
        let is_allowed =
            is_joined && levels.can_send(&sender.user_id, "m.room.canonical_alias", true);
        if !is_allowed && admin.is_none() {
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
    fn wants(&self, listing: &RoomSummary) -> bool {
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

/// A room as the directory shows it.
fn listing(room_id: OwnedRoomId, state: &State, joined_members: u64) -> RoomSummary {
    RoomSummary {
        allowed_rooms: Vec::new(),
        ..RoomSummary::of(room_id, None, state, joined_members)
    }
}
