//! Long polling: responds at once, or when something changes.

use std::sync::Arc;

use live::{Live, Subscription, ViewQuery};
use ruma::{UserId, api::client::filter::FilterDefinition};
use storage::Database;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use types::Clock;

use crate::{
    Error, Request,
    collect::{self, MAX_TO_DEVICE},
    context::SyncContext,
    query::{SyncQuery, ToDeviceQuery},
    sliding::Connections,
    v3::{V3Query, coalesce::InFlight, filter::Filter, stored_filters::StoredFilters, writer},
};

/// The limits of sliding sync.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many connections a device may have.
    pub max_connections_per_device: u32,
    /// How many bytes of memory may be taken by what clients have been sent.
    pub connection_cache_bytes: u64,
}

/// Handles `/sync` and sliding sync; cheap to clone.
#[derive(Clone, Debug)]
pub struct SyncResponder(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) live: Live,
    pub(crate) clock: Clock,
    pub(crate) stopping: CancellationToken,
    pub(crate) connections: Connections,
    in_flight: InFlight,
    filters: StoredFilters,
}

impl SyncResponder {
    /// Builds the handle; no request waits once `stopping` is cancelled.
    pub fn new(
        settings: Settings,
        database: Database,
        live: Live,
        clock: Clock,
        stopping: CancellationToken,
    ) -> Self {
        let in_flight = InFlight::default();
        Self(Arc::new(Inner {
            connections: Connections::new(settings),
            database,
            live,
            clock,
            stopping,
            in_flight,
            filters: StoredFilters::new(),
        }))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// A stored filter of the user, by id.
    pub async fn filter(
        &self,
        user_id: &UserId,
        filter_id: &str,
    ) -> Result<Arc<FilterDefinition>, Error> {
        self.0
            .filters
            .find(&self.0.database, user_id, filter_id)
            .await
    }

    /// The response to `/v3/sync`, as JSON text.
    ///
    /// Waits up to the request's timeout if there are no changes.
    #[tracing::instrument(name = "sync.v3", skip_all, fields(user.id = %request.user_id), err(level = "debug"))]
    pub async fn v3(&self, request: &Request) -> Result<String, Error> {
        if request.since.is_none() {
            // Clients repeat a slow initial sync: coalesce identical requests.
            let shared = self.0.in_flight.coalesce(request, || self.wait(request));
            return Box::pin(shared).await;
        }
        self.wait(request).await
    }

    async fn wait(&self, request: &Request) -> Result<String, Error> {
        let live = &self.0.live;
        // The response includes everything that this process has committed before the request, and
        // everything that another process has already sent to the client.
        let sent_until = request.since.unwrap_or_default().stream;
        let committed = Box::pin(self.0.database.target_position(sent_until)).await?;
        live.wait_until_applied(committed).await;
        // Boxed, as all below that is over before the waiting begins: it would take its memory.
        let subscription = Box::pin(live.subscribe(&request.user_id)).await?;
        if let Some(since) = request.since {
            Box::pin(subscription.acknowledge(&request.device_id, since.to_device())).await?;
        }
        let since = request.since.map(|since| live.changes_since(since));
        let filter = Filter::new(&request.filter);
        let _syncing = live.begin_sync(&subscription, &request.device_id, request.set_presence);
        let until = Instant::now() + request.timeout;
        let may_wait = !request.full_state && !request.timeout.is_zero();
        let mut over = false;
        loop {
            let changed = subscription.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let has_no_changes = since.is_some_and(|since| {
                let more_to_device = since.to_device.is_some_and(|position| {
                    subscription.has_to_device(&request.device_id, position)
                });
                let has_presence =
                    || filter.presence().is_some() && subscription.presence_changed_since(since);
                !more_to_device && !subscription.has_changed_since(since) && !has_presence()
            });
            let waits = may_wait && !over && since.is_some();
            if !(waits && has_no_changes) {
                let query = V3Query {
                    request,
                    filter: &filter,
                    since,
                };
                let response = Box::pin(self.respond(query, &subscription, waits)).await?;
                if let Some(response) = response {
                    return Ok(response);
                }
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(until) => over = true,
                () = self.0.stopping.cancelled() => over = true,
            }
        }
    }

    /// The response; `None` if there are no changes and the request waits for some.
    async fn respond(
        &self,
        query: V3Query<'_>,
        subscription: &Subscription,
        waits: bool,
    ) -> Result<Option<String>, Error> {
        let V3Query {
            request, filter, ..
        } = query;
        let since = request
            .since
            .map(|since| self.0.live.possibly_missed_since(since));
        let view_query = ViewQuery {
            since: since.filter(|_| !request.full_state),
            of: &|membership| query.includes(membership),
        };
        let view = self.0.live.view(subscription, &view_query).await?;
        let context = SyncContext {
            user_id: &request.user_id,
            device_id: &request.device_id,
            database: &self.0.database,
            live: &self.0.live,
            subscription,
            view: &view,
            since: query.since,
            possibly_missed: since,
        };
        let sync_query = SyncQuery {
            account_data: Some(&filter.account_data),
            to_device: Some(ToDeviceQuery {
                after: query.since.unwrap_or_default().to_device(),
                limit: MAX_TO_DEVICE,
            }),
            encryption: true,
            presence: filter.presence(),
            room: &|membership| query.of_room(membership),
        };
        let updates = collect::updates(&context, sync_query).await?;
        let is_returned = !waits || updates.has_changes();
        Ok(is_returned.then(|| writer::write(&query, &updates, self.0.clock.now_ms())))
    }
}
