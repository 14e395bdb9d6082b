//! Sliding sync: the updates of those rooms that a client asks for by lists and subscriptions.
//!
//! Spec: MSC4186, "Simplified Sliding Sync".
//!
//! A client may have several connections. What it has been sent on one is a [`Connection`]: by room,
//! up to where and with which configuration. It is stored in the database whenever it changes, which a new
//! event in a room that the client has does not do; the position that the client continues from names the
//! stored version, and the sync token up to which all rooms are sent that say nothing else.

mod connection;
mod connections;
mod extensions;
mod filters;
mod lists;
mod plan;
mod position;
pub mod request;
mod respond;
mod rooms;
mod writer;

use std::sync::Arc;

use live::{ChangedRooms, Subscription};
use tokio::time::Instant;
use types::{RoomNid, StreamPosition, SyncToken};

pub(crate) use self::connections::Connections;
use self::{
    connection::Connection,
    position::{Owner, Position},
    request::Request,
};
use crate::{Error, SyncResponder};

/// A request with what is known of its connection.
#[derive(Clone, Copy)]
struct SlidingQuery<'a> {
    request: &'a Request,
    subscription: &'a Subscription,
    /// What the client has been sent.
    connection: &'a Arc<Connection>,
    /// The version of it; 0 before anything was sent.
    version: i64,
    /// The token of the request's position, as far as this process can interpret it.
    since: Option<SyncToken>,
    /// The token after which ephemeral changes are returned: perhaps again.
    possibly_missed: Option<SyncToken>,
}

impl SlidingQuery<'_> {
    /// Stream changes after this are new.
    fn since_stream(&self) -> Option<StreamPosition> {
        self.since.map(|since| since.stream)
    }

    /// The rooms whose account data changed.
    fn data_changed(&self, changed: &ChangedRooms) -> Vec<RoomNid> {
        let since = self.since_stream();
        let rooms = since.map(|since| changed.user.rooms_with_data_after(since));
        rooms.into_iter().flatten().collect()
    }
}

impl SyncResponder {
    /// The response to a request of sliding sync, as JSON text.
    ///
    /// Waits up to the request's timeout if there are no changes.
    #[tracing::instrument(name = "sync.sliding", skip_all, fields(user.id = %request.user_id), err(level = "debug"))]
    pub async fn sliding(&self, request: &Request) -> Result<String, Error> {
        request.check()?;
        let owner = Owner::of(request);
        let position = request.pos.as_deref();
        let position = position
            .map(|pos| Position::parse(pos, &owner))
            .transpose()?;
        let (live, database) = (&self.inner().live, &self.inner().database);
        // As for `/v3/sync`: all that this process has committed before the request, and all that
        // another process has already sent to the client.
        let sent_until = position.map_or(StreamPosition::START, |position| position.token.stream);
        let committed = Box::pin(database.target_position(sent_until)).await?;
        live.wait_until_applied(committed).await;
        let version = position.map_or(0, |position| position.version);
        let connections = &self.inner().connections;
        let connection = Box::pin(connections.find(database, &owner, version)).await?;
        let subscription = Box::pin(live.subscribe(&request.user_id)).await?;
        if let Some(received) = request.received_to_device()? {
            Box::pin(subscription.acknowledge(&request.device_id, received)).await?;
        }
        let token = position.map(|position| position.token);
        let query = SlidingQuery {
            request,
            subscription: &subscription,
            connection: &connection,
            version,
            since: token.map(|token| live.changes_since(token)),
            possibly_missed: token.map(|token| live.possibly_missed_since(token)),
        };
        let _syncing = live.begin_sync(&subscription, &request.device_id, request.set_presence);
        self.wait_sliding(query).await
    }

    /// Responds at once, or when something changes.
    async fn wait_sliding(&self, query: SlidingQuery<'_>) -> Result<String, Error> {
        let until = Instant::now() + query.request.timeout;
        let may_wait = !query.request.timeout.is_zero() && query.since.is_some();
        let mut over = false;
        loop {
            let changed = query.subscription.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let waits = may_wait && !over;
            if let Some(response) = Box::pin(self.respond_sliding(query, waits)).await? {
                return Ok(response);
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(until) => over = true,
                () = self.inner().stopping.cancelled() => over = true,
            }
        }
    }
}
