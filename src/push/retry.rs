//! Pushers whose gateways failed: when they are due, what is still unread is looked up and sent.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use live::{TimelineEvent, View, ViewQuery};
use ruma::events::room::member::MembershipState;
use storage::pushers::{self, Pusher};
use tokio::time::Instant;
use types::{StreamPosition, SyncToken};

use crate::{
    Error, Push, badge,
    deliver::{Outcome, Outcomes},
    evaluate::{KnownDetails, UserPush, unread},
    metrics,
    notification::Notification,
};

/// How many pushers are tried in one round.
const AT_ONCE: i64 = 100;
/// How many of them are looked up at the same time; each may need a connection to the database.
const PARALLEL: usize = 4;
/// The most notifications that are sent after an outage; the newest are, and the number says how many
/// there are.
const MAX_RESENT: usize = 10;

impl Push {
    /// Tries the pushers that are due, and returns when the next one is; none if none waits.
    ///
    /// Only the process that follows the stream may do this, and not at the same time; `until` is how far
    /// it has come: what is after that it will send itself.
    pub(crate) async fn retry(&self, until: StreamPosition) -> Result<Option<Instant>, Error> {
        let due = pushers::due(&mut *self.0.database.acquire().await?, AT_ONCE).await?;
        if !due.is_empty() {
            let outcomes = self.catch_up_all(due, until).await?;
            let mut tx = self.0.database.begin().await?;
            outcomes.record(&mut tx).await?;
            tx.commit().await?;
        }
        let (waiting, until) = pushers::waiting(&mut *self.0.database.acquire().await?).await?;
        metrics::waiting(waiting);
        Ok(until.map(|until| Instant::now() + until))
    }

    async fn catch_up_all(
        &self,
        due: Vec<Pusher>,
        until: StreamPosition,
    ) -> Result<Outcomes, Error> {
        let deadline = self.deadline();
        let tried = stream::iter(due).map(|pusher| async move {
            let outcome = self.catch_up(&pusher, until, deadline).await;
            (pusher, outcome)
        });
        let mut tried = tried.buffer_unordered(PARALLEL);
        let mut outcomes = Outcomes::default();
        while let Some((pusher, outcome)) = tried.next().await {
            self.add_outcome(&mut outcomes, &pusher, outcome?);
        }
        Ok(outcomes)
    }

    async fn catch_up(
        &self,
        pusher: &Pusher,
        until: StreamPosition,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let Some(sent_until) = pusher.sent_until else {
            return Ok(Outcome::Sent);
        };
        if self.is_unreachable(pusher) {
            return Ok(Outcome::Failed(sent_until));
        }
        let push = self.missed(pusher, sent_until, until).await?;
        Ok(match self.send(pusher, &push, until, deadline).await {
            // Only the number was to be told: all events before it still count as not sent.
            Outcome::Failed(_) if push.notifications.is_empty() => Outcome::Failed(sent_until),
            outcome => outcome,
        })
    }

    /// What the user of a pusher was not told between two positions and has not read.
    async fn missed(
        &self,
        pusher: &Pusher,
        sent_until: StreamPosition,
        until: StreamPosition,
    ) -> Result<UserPush, Error> {
        let live = &self.0.live;
        live.wait_until_applied(until).await;
        let subscription = live.subscribe(&pusher.user_id).await?;
        let is_member = |membership: &MembershipState| {
            matches!(membership, MembershipState::Join | MembershipState::Invite)
        };
        let query = ViewQuery {
            since: Some(SyncToken {
                stream: sent_until,
                ..SyncToken::default()
            }),
            of: &|room| is_member(&room.membership),
        };
        let view = live.view(&subscription, &query).await?;
        let badge = badge::count(live, &subscription, &view, None).await?;
        let mut missed = unread(&view, &events_between(&view, sent_until, until));
        missed.retain(|(event, _)| {
            badge.of_room(event.event().room_nid) > 0 || event.pdu().membership().is_some()
        });
        missed.drain(..missed.len().saturating_sub(MAX_RESENT));
        let (unread, known) = (badge.total(), KnownDetails::default());
        self.0.badges.insert(&pusher.user_id, Arc::new(badge));
        let mut notifications = Vec::with_capacity(missed.len());
        for (event, tweaks) in missed {
            if let Some(room) = view.rooms.get(&event.event().room_nid) {
                let details = self.details(room, &event, &known).await?;
                notifications.push(Notification {
                    event,
                    details,
                    tweaks,
                });
            }
        }
        Ok(UserPush {
            user_id: pusher.user_id.clone(),
            unread,
            notifications,
        })
    }
}

/// The cached events of the rooms of a view after a position and up to another, oldest first.
fn events_between(
    view: &View,
    after: StreamPosition,
    until: StreamPosition,
) -> Vec<Arc<TimelineEvent>> {
    let rooms = view.rooms.values();
    let events = rooms.flat_map(|room| {
        let timeline = room.timeline().rev();
        timeline.take_while(move |event| event.position() > after)
    });
    let events = events.filter(|event| event.position() <= until);
    let mut events: Vec<_> = events.cloned().collect();
    events.sort_by_key(|event| event.position());
    events
}
