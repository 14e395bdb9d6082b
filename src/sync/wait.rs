//! Answering at once, or when there is something new.

use std::sync::Arc;

use live::{Live, Want};
use ruma::{UserId, api::client::filter::FilterDefinition, events::room::member::MembershipState};
use storage::{Database, memberships::Membership};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use types::{Clock, SyncToken};

use crate::{
    Error, Request,
    answer::Answer,
    filter::Filter,
    share::InFlight,
    stored_filters::StoredFilters,
    v3::{self, Ask},
};

/// Answers `/sync`; cheap to clone.
#[derive(Clone, Debug)]
pub struct Syncs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    live: Live,
    clock: Clock,
    stopping: CancellationToken,
    in_flight: InFlight,
    filters: StoredFilters,
}

impl Syncs {
    /// Builds the handle; once `stopping` is cancelled, nobody is kept waiting.
    pub fn new(database: Database, live: Live, clock: Clock, stopping: CancellationToken) -> Self {
        let in_flight = InFlight::default();
        Self(Arc::new(Inner {
            database,
            live,
            clock,
            stopping,
            in_flight,
            filters: StoredFilters::new(),
        }))
    }

    /// A filter that the user has stored, by its id.
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

    /// The answer to a `/v3/sync`, as JSON text.
    ///
    /// Waits up to the request's timeout when there is nothing new.
    #[tracing::instrument(name = "sync.v3", skip_all, fields(user.id = %request.user_id), err(level = "debug"))]
    pub async fn v3(&self, request: &Request) -> Result<String, Error> {
        if request.since.is_none() {
            // Clients that lose patience ask again: one computation serves them all.
            let shared = self.0.in_flight.share(request, || self.wait(request));
            return Box::pin(shared).await;
        }
        self.wait(request).await
    }

    async fn wait(&self, request: &Request) -> Result<String, Error> {
        let live = &self.0.live;
        // Whatever this process has committed before the request is in the answer, and whatever
        // another one has told the client already.
        let told = request.since.unwrap_or_default().stream;
        let committed = Box::pin(self.0.database.target_position(told)).await?;
        live.caught_up(committed).await;
        // Boxed, as all below that is over before the waiting begins: it would take its memory.
        let watch = Box::pin(live.watch(&request.user_id)).await?;
        if let Some(since) = request.since {
            Box::pin(watch.acknowledge(&request.device_id, since.to_device())).await?;
        }
        let since = request.since.map(|since| live.news_since(since));
        let filter = Filter::new(&request.filter);
        let until = Instant::now() + request.timeout;
        let may_wait = !request.full_state && !request.timeout.is_zero();
        let mut over = false;
        loop {
            let changed = watch.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let quiet = since.is_some_and(|since| {
                let more_mail = since
                    .to_device
                    .is_some_and(|position| watch.has_mail(&request.device_id, position));
                !more_mail && !watch.has_changed_since(since)
            });
            let waits = may_wait && !over && since.is_some();
            if !(waits && quiet) {
                let look = Box::pin(self.look(request, &filter, &watch, since));
                let answer = look.await?;
                if !waits || answer.has_news {
                    return Ok(answer.finish());
                }
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(until) => over = true,
                () = self.0.stopping.cancelled() => over = true,
            }
        }
    }

    async fn look(
        &self,
        request: &Request,
        filter: &Filter,
        watch: &live::Watch,
        since: Option<SyncToken>,
    ) -> Result<Answer, Error> {
        let is_wanted = |room: &Membership| {
            let left = matches!(
                room.membership,
                MembershipState::Leave | MembershipState::Ban
            );
            let news = since.is_some_and(|since| room.position > since.stream);
            // That a room was left is told even if it is forgotten already.
            let kept = news || !(left && (room.forgotten || !filter.include_leave));
            filter.room(&room.room_id) && kept
        };
        let wanted = request
            .since
            .map(|since| self.0.live.worth_telling_since(since));
        let want = Want {
            since: wanted.filter(|_| !request.full_state),
            of: &is_wanted,
        };
        let look = self.0.live.look(watch, &want).await?;
        let ask = Ask {
            request,
            filter,
            database: &self.0.database,
            watch,
            look: &look,
            since,
            now_ms: self.0.clock.now_ms(),
        };
        v3::answer(&ask).await
    }
}
