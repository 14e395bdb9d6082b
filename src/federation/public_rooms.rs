//! Requests for the public room directories of other servers.
//!
//! Spec: server-server, "Published Room Directory".

use std::time::Duration;

use event::RoomSummary;
use ruma::{
    ServerName, UInt,
    api::federation::directory::{get_public_rooms, get_public_rooms_filtered},
    directory::Filter,
};

use crate::{Federation, Result, client::Limits};

/// A client waits for it.
const PAGE: Limits = Limits {
    timeout: Duration::from_secs(30),
    max_body: 4 * 1024 * 1024,
};

/// A page of another server's directory.
#[derive(Clone, Debug)]
pub struct PublicRooms {
    /// The rooms.
    pub rooms: Vec<RoomSummary>,
    /// About how many rooms there are on all pages, if the server says so.
    pub total: Option<u64>,
    /// The token of the next page.
    pub next: Option<String>,
    /// The token of the page before.
    pub previous: Option<String>,
}

impl Federation {
    /// Asks a server for a page of its public room directory: of `limit` rooms, from the page of a
    /// token, which the filter lets through.
    pub async fn public_rooms(
        &self,
        server: &ServerName,
        limit: u32,
        since: Option<String>,
        filter: Filter,
    ) -> Result<PublicRooms> {
        let limit = Some(UInt::from(limit));
        // Servers may know the request without a filter only.
        if filter.is_empty() {
            let mut request = get_public_rooms::v1::Request::new();
            (request.limit, request.since) = (limit, since);
            let page = self.request(server, request, PAGE).await?;
            return Ok(PublicRooms {
                rooms: page.chunk.into_iter().map(RoomSummary::from).collect(),
                total: page.total_room_count_estimate.map(u64::from),
                next: page.next_batch,
                previous: page.prev_batch,
            });
        }
        let mut request = get_public_rooms_filtered::v1::Request::new();
        (request.limit, request.since, request.filter) = (limit, since, filter);
        let page = self.request(server, request, PAGE).await?;
        Ok(PublicRooms {
            rooms: page.chunk.into_iter().map(RoomSummary::from).collect(),
            total: page.total_room_count_estimate.map(u64::from),
            next: page.next_batch,
            previous: page.prev_batch,
        })
    }
}
