//! Sends notifications to all pushers of their users, and records what became of it.

use std::collections::HashMap;

use futures::{StreamExt as _, stream};
use ruma::OwnedUserId;
use storage::{
    Connection,
    pushers::{self, Pusher, PusherFailure},
};
use tokio::time::Instant;
use types::StreamPosition;

use crate::{Error, Push, evaluate::UserPush, gateway::Answer, metrics, notification};

/// What became of the pushers that were sent to.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    rejected: Vec<i64>,
    caught_up: Vec<i64>,
    failures: Vec<PusherFailure>,
}

/// What became of one pusher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All was sent.
    Sent,
    /// Its push key is not valid any more.
    Rejected,
    /// What comes after a position was not sent.
    Failed(StreamPosition),
}

impl Outcomes {
    /// Whether there is nothing to record.
    pub(crate) fn is_empty(&self) -> bool {
        self.rejected.is_empty() && self.caught_up.is_empty() && self.failures.is_empty()
    }

    /// Whether a pusher waits.
    pub(crate) fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Writes it; a statement for each kind.
    pub(crate) async fn record(&self, db: &mut Connection) -> Result<(), Error> {
        if !self.rejected.is_empty() {
            pushers::delete_rejected(db, &self.rejected).await?;
        }
        if !self.caught_up.is_empty() {
            pushers::record_caught_up(db, &self.caught_up).await?;
        }
        if !self.failures.is_empty() {
            pushers::record_failures(db, &self.failures).await?;
        }
        Ok(())
    }
}

impl Push {
    /// Until when a batch must be sent, so that the lease is renewed in time.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.0.settings.lease / 3
    }

    /// Takes in what became of a pusher.
    pub(crate) fn add_outcome(&self, outcomes: &mut Outcomes, pusher: &Pusher, outcome: Outcome) {
        let pusher_nid = pusher.pusher_nid;
        match outcome {
            Outcome::Sent if pusher.sent_until.is_some() => outcomes.caught_up.push(pusher_nid),
            Outcome::Sent => {}
            Outcome::Rejected => {
                tracing::info!(user.id = %pusher.user_id, "A pusher was rejected by its gateway and removed");
                outcomes.rejected.push(pusher_nid);
            }
            Outcome::Failed(sent_until) => outcomes.failures.push(PusherFailure {
                pusher_nid,
                sent_until,
                pause: self
                    .0
                    .settings
                    .pause_after(pusher.failures.saturating_add(1)),
            }),
        }
    }

    /// Sends to the pushers of users, but not to those that wait already.
    pub(crate) async fn deliver(
        &self,
        pushes: Vec<UserPush>,
        until: StreamPosition,
    ) -> Result<Outcomes, Error> {
        let pushes = pushes.into_iter().map(|push| (push.user_id.clone(), push));
        let pushes: HashMap<OwnedUserId, UserPush> = pushes.collect();
        let pushers = self.pushers_of(pushes.keys().cloned().collect()).await?;
        let (pushes, deadline) = (&pushes, self.deadline());
        let ready = pushers
            .into_iter()
            .filter(|pusher| pusher.sent_until.is_none());
        let sent = stream::iter(ready).map(|pusher| async move {
            let outcome = match pushes.get(&pusher.user_id) {
                Some(push) => self.send(&pusher, push, until, deadline).await,
                None => Outcome::Sent,
            };
            (pusher, outcome)
        });
        let mut sent = sent.buffer_unordered(self.0.settings.parallel.max(1));
        let mut outcomes = Outcomes::default();
        while let Some((pusher, outcome)) = sent.next().await {
            self.add_outcome(&mut outcomes, &pusher, outcome);
        }
        Ok(outcomes)
    }

    /// Sends what a user is to be told to one pusher, in order; stops at the first failure.
    pub(crate) async fn send(
        &self,
        pusher: &Pusher,
        push: &UserPush,
        until: StreamPosition,
        deadline: Instant,
    ) -> Outcome {
        if push.notifications.is_empty() {
            let body = notification::of_badge(pusher, push.unread);
            return match self.post(pusher, &body, deadline).await {
                Answer::Accepted => {
                    metrics::sent("badge");
                    Outcome::Sent
                }
                Answer::Rejected => Outcome::Rejected,
                Answer::Failed => Outcome::Failed(until),
            };
        }
        for notification in &push.notifications {
            let body = notification::of_event(pusher, notification, push.unread);
            match self.post(pusher, &body, deadline).await {
                Answer::Accepted => metrics::sent("event"),
                Answer::Rejected => return Outcome::Rejected,
                Answer::Failed => {
                    let position = notification.event.position();
                    return Outcome::Failed(StreamPosition(position.get() - 1));
                }
            }
        }
        Outcome::Sent
    }

    /// The pushers of users; forgets those who have none any more.
    async fn pushers_of(&self, user_ids: Vec<OwnedUserId>) -> Result<Vec<Pusher>, Error> {
        let additions = self.0.users.lock().additions();
        let mut db = self.0.database.acquire().await?;
        let pushers = pushers::of_users(&mut db, &user_ids).await?;
        drop(db);
        let is_gone = |user_id: &OwnedUserId| {
            let mut pushers = pushers.iter();
            !pushers.any(|pusher| pusher.user_id == *user_id)
        };
        let gone: Vec<OwnedUserId> = if pushers.len() < user_ids.len() {
            user_ids.into_iter().filter(is_gone).collect()
        } else {
            Vec::new()
        };
        self.0.users.lock().forget(&gone, additions);
        Ok(pushers)
    }
}
