//! The rooms of a space, and the rooms of the spaces among them.
//!
//! Spec: client-server, "Discovering rooms within spaces"; server-server, "Spaces".

mod token;
mod walk;

use event::space::SpaceRoom;
use federation::Hierarchy;
use ruma::{OwnedRoomId, RoomId, ServerName, UserId};
use serde::Serialize;

use crate::{
    Error, Rooms,
    summary::{Requester, summary},
};

use token::HierarchyToken;
use walk::Walk;

/// The most rooms on a page.
const MAX_PAGE: usize = 50;
/// How deep spaces are followed.
const MAX_DEPTH: u64 = 100;
/// The most rooms in a space that another server is told more of than their ids.
const MAX_SERVED: usize = 200;

/// Which rooms of a space are asked for.
#[derive(Clone, Debug)]
pub struct HierarchyQuery {
    /// The space.
    pub room_id: OwnedRoomId,
    /// Whether only suggested rooms are wanted.
    pub suggested_only: bool,
    /// How far to go into the space; the space itself has depth 0.
    pub max_depth: Option<u64>,
    /// How many rooms at the most.
    pub limit: Option<u64>,
    /// Where the page starts: the token of the page before.
    pub from: Option<String>,
}

/// A page of the rooms of a space; each room comes before the rooms in it.
#[derive(Clone, Debug, Serialize)]
pub struct HierarchyPage {
    /// The rooms.
    pub rooms: Vec<SpaceRoom>,
    /// The token of the next page.
    #[serde(rename = "next_batch", skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Rooms {
    /// The rooms of a space that a user is in, may join or may read, the space first.
    #[tracing::instrument(name = "room.hierarchy", skip_all, fields(room.id = %query.room_id), err(level = "debug"))]
    pub async fn hierarchy(
        &self,
        user_id: &UserId,
        query: &HierarchyQuery,
    ) -> Result<HierarchyPage, Error> {
        if query.limit == Some(0) {
            return Err(Error::Invalid("`limit` must be greater than 0".to_owned()));
        }
        let limit = query.limit.and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let token = match &query.from {
            Some(from) => HierarchyToken::of_query(from, query)?,
            None => HierarchyToken::start(query),
        };
        Walk::new(self, user_id, token)
            .page(&query.room_id, limit)
            .await
    }

    /// A room and the rooms in it, as far as this server takes part in them and another may see them.
    #[tracing::instrument(name = "room.serve_hierarchy", skip_all, fields(room.id = %room_id, server.name = %server), err(level = "debug"))]
    pub async fn serve_hierarchy(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        suggested_only: bool,
    ) -> Result<Hierarchy, Error> {
        let requester = Requester::Server(server);
        let head = self.local_head(room_id).await?;
        let head = head.ok_or(Error::UnknownRoom)?;
        let room = summary(&head);
        if !self.shows(&head, &room, requester).await? {
            return Err(Error::UnknownRoom);
        }
        let room = self.space_room(&head, room, suggested_only).await?;
        let (mut children, mut inaccessible) = (Vec::new(), Vec::new());
        for child in room.children.iter().take(MAX_SERVED) {
            let Some(head) = self.local_head(&child.room_id).await? else {
                continue;
            };
            let summary = summary(&head);
            if self.shows(&head, &summary, requester).await? {
                children.push(summary);
            } else {
                inaccessible.push(child.room_id.clone());
            }
        }
        Ok(Hierarchy {
            room,
            children,
            inaccessible,
        })
    }
}
