//! Requests for the rooms of spaces that other servers know.
//!
//! Spec: server-server, "Spaces".

use std::{fmt, sync::Arc, time::Duration};

use event::{
    RoomSummary,
    space::{SpaceChild, SpaceRoom},
};
use moka::future::Cache;
use ruma::{
    OwnedRoomId, OwnedServerName, RoomId, ServerName, api::federation::space::get_hierarchy::v1,
};
use serde::Serialize;

use crate::{Error, Federation, Result, client::Limits};

/// A client waits for it, and for others of the same space.
const HIERARCHY: Limits = Limits {
    timeout: Duration::from_secs(10),
    max_body: 4 * 1024 * 1024,
};
/// How long an answer is believed, and how long a server is not asked again that did not answer.
const LIFETIME: Duration = Duration::from_mins(1);
/// The size of all answers together, in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The most rooms that are taken from one answer.
const MAX_ROOMS: usize = 1_000;

/// A room with the rooms in it, as far as a server knows them and another may see them.
#[derive(Clone, Debug, Serialize)]
pub struct Hierarchy {
    /// The room that was asked for.
    pub room: SpaceRoom,
    /// The rooms in it that the other server may see.
    pub children: Vec<RoomSummary>,
    /// The rooms in it that the other server may not see.
    #[serde(rename = "inaccessible_children")]
    pub inaccessible: Vec<OwnedRoomId>,
}

/// What servers have said of rooms a short time ago.
pub(crate) struct Hierarchies(Cache<(OwnedServerName, OwnedRoomId), Answer>);

#[derive(Clone)]
enum Answer {
    Known(Arc<Hierarchy>),
    /// The server could not be reached, or has not answered as it should.
    Failed(Error),
}

impl Hierarchies {
    pub(crate) fn new() -> Self {
        let cache = Cache::builder()
            .max_capacity(MAX_BYTES)
            .time_to_live(LIFETIME)
            .weigher(|_, answer: &Answer| answer.weight())
            .build();
        Self(cache)
    }
}

impl fmt::Debug for Hierarchies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hierarchies").finish_non_exhaustive()
    }
}

impl Answer {
    /// About how many bytes of memory it takes.
    fn weight(&self) -> u32 {
        let bytes = match self {
            Self::Known(hierarchy) => {
                let room = &hierarchy.room;
                let children: usize = room.children.iter().map(SpaceChild::size).sum();
                let rooms = hierarchy.children.iter().chain([&room.summary]);
                let rooms: usize = rooms.map(weight).sum();
                let events = room.children.len() * size_of::<SpaceChild>();
                children + events + rooms + hierarchy.inaccessible.len() * 64
            }
            Self::Failed(_) => 0,
        };
        u32::try_from(bytes + 512).unwrap_or(u32::MAX)
    }
}

fn weight(summary: &RoomSummary) -> usize {
    let texts = [
        &summary.name,
        &summary.topic,
        &summary.canonical_alias,
        &summary.avatar_url,
    ];
    let texts: usize = texts
        .iter()
        .filter_map(|text| Some(text.as_ref()?.len()))
        .sum();
    size_of::<RoomSummary>() + texts + summary.allowed_rooms.len() * 64
}

impl Federation {
    /// Asks a server for a room and the rooms in it. An answer is good for a short time, and so is
    /// that there was none; that the server does not know the room, or does not show it, is not kept.
    pub async fn hierarchy(&self, server: &ServerName, room_id: &RoomId) -> Result<Arc<Hierarchy>> {
        let key = (server.to_owned(), room_id.to_owned());
        let asked = async {
            match self.request_hierarchy(server, room_id).await {
                Ok(hierarchy) => Ok(Answer::Known(Arc::new(hierarchy))),
                Err(error @ Error::Remote { status, .. }) if status < 500 => Err(error),
                Err(error @ Error::NotAllowed(_)) => Err(error),
                Err(error) => Ok(Answer::Failed(error)),
            }
        };
        let cache = &self.inner().hierarchies.0;
        match cache.try_get_with(key, asked).await {
            Ok(Answer::Known(hierarchy)) => Ok(hierarchy),
            Ok(Answer::Failed(error)) => Err(error),
            Err(error) => Err((*error).clone()),
        }
    }

    async fn request_hierarchy(&self, server: &ServerName, room_id: &RoomId) -> Result<Hierarchy> {
        let request = v1::Request::new(room_id.to_owned());
        let response = self.request(server, request, HIERARCHY).await?;
        let summary = RoomSummary::from(response.room.summary);
        if summary.room_id != *room_id {
            return Err(Error::InvalidResponse {
                server: server.to_owned(),
                reason: "it is of another room".to_owned(),
            });
        }
        let children = response.room.children_state.iter().take(MAX_ROOMS);
        let mut children: Vec<_> = children
            .filter_map(|event| SpaceChild::of_stripped(event.json()))
            .collect();
        children.sort_unstable();
        let rooms = response.children.into_iter().take(MAX_ROOMS);
        let mut inaccessible = response.inaccessible_children;
        inaccessible.truncate(MAX_ROOMS);
        Ok(Hierarchy {
            room: SpaceRoom { summary, children },
            children: rooms.map(RoomSummary::from).collect(),
            inaccessible,
        })
    }
}
