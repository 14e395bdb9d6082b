//! Sending delayed events when they are due, or when somebody asks for it.
//!
//! A process claims what it sends; another one takes over what a killed process has claimed. Each event
//! is sent under a transaction of its own, so that it is added to its room once.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use futures::{StreamExt as _, stream};
use ruma::OwnedRoomId;
use serde_json::value::RawValue;
use storage::delayed_events::{self, ClaimedEvent};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use types::{ErrorKind, Fault as _};

use crate::{Error, NewMessage, Rooms, Sender};

/// How many events are claimed at once, and in how many rooms a process sends at once.
const BATCH: i64 = 100;
const PARALLEL: usize = 16;
/// How long an attempt may take, and after how long another process takes an event over.
const ATTEMPT: Duration = Duration::from_secs(30);
const LEASE: Duration = Duration::from_mins(1);
/// How often a process looks for what others have scheduled or left.
const POLL: Duration = Duration::from_secs(5);
/// How often an event is tried, and the pause after the first failure, which doubles with each one.
const MAX_ATTEMPTS: i32 = 10;
const FIRST_PAUSE: Duration = Duration::from_secs(1);

impl Rooms {
    /// Sends delayed events when they are due, until it is told to stop; in any number of processes.
    pub async fn send_delayed_events(&self, stopping: CancellationToken) -> Result<(), Infallible> {
        loop {
            let pause = match self.send_due_events().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "Delayed events could not be read");
                    POLL
                }
            };
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                () = self.0.delayed.scheduled.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Sends the delayed events that are due; returns after how long to look again.
    pub async fn send_due_events(&self) -> Result<Duration, Error> {
        loop {
            let now = self.now_ms();
            let claimed = {
                let mut db = self.0.database.acquire().await?;
                delayed_events::claim_due(&mut db, now, BATCH, LEASE).await?
            };
            if claimed.is_empty() {
                break;
            }
            // The events of a room in order.
            let mut rooms: BTreeMap<OwnedRoomId, Vec<ClaimedEvent>> = BTreeMap::new();
            for claimed in claimed {
                let room_id = claimed.event.room_id.clone();
                rooms.entry(room_id).or_default().push(claimed);
            }
            let sending = stream::iter(rooms.into_values());
            sending
                .for_each_concurrent(PARALLEL, |events| async move {
                    for event in &events {
                        Box::pin(self.send_claimed(event)).await;
                    }
                })
                .await;
        }
        let mut db = self.0.database.acquire().await?;
        let Some(due) = delayed_events::next_due(&mut db).await? else {
            return Ok(POLL);
        };
        let wait = u64::try_from(due.saturating_sub(self.now_ms())).unwrap_or_default();
        Ok(Duration::from_millis(wait).min(POLL))
    }

    /// Sends a delayed event now. What cannot be sent does not wait any more, unless that may change.
    pub async fn send_delayed_event(&self, delay_id: &str) -> Result<(), Error> {
        let claimed = {
            let mut db = self.0.database.acquire().await?;
            delayed_events::claim(&mut db, delay_id, LEASE).await?
        };
        let claimed = claimed.ok_or(Error::UnknownDelayedEvent)?;
        let sent = Box::pin(self.send_as_user(&claimed)).await;
        self.finish(&claimed, sent.as_ref().err()).await?;
        sent
    }

    /// Sends a claimed event; a failure is logged.
    async fn send_claimed(&self, claimed: &ClaimedEvent) {
        let room_id = &claimed.event.room_id;
        let sent = timeout(ATTEMPT, Box::pin(self.send_as_user(claimed))).await;
        let Ok(sent) = sent else {
            // It is claimed anew after a while.
            tracing::warn!(room.id = %room_id, "Sending a delayed event took too long");
            return;
        };
        if let Err(error) = &sent {
            tracing::info!(room.id = %room_id, %error, "A delayed event was not sent");
        }
        if let Err(error) = self.finish(claimed, sent.as_ref().err()).await {
            tracing::warn!(room.id = %room_id, %error, "What became of a delayed event could not be stored");
        }
    }

    async fn send_as_user(&self, claimed: &ClaimedEvent) -> Result<(), Error> {
        let event = &claimed.event;
        let content = RawValue::from_string(event.content.clone())
            .map_err(|error| Error::BadContent(error.to_string()))?;
        let sender = Sender::user(&event.user_id);
        let sender = sender.with_transaction(format!("delayed {}", event.delay_id).into());
        let event_type = event.event_type.as_str();
        if let Some(state_key) = &event.state_key {
            let set = self.set_state(
                &event.room_id,
                &sender,
                event_type.into(),
                state_key,
                content,
            );
            set.await?;
        } else {
            let message = NewMessage {
                event_type: event_type.into(),
                content,
            };
            self.send(&event.room_id, &sender, message).await?;
        }
        Ok(())
    }

    /// Stores what became of a claimed event.
    async fn finish(&self, claimed: &ClaimedEvent, failure: Option<&Error>) -> Result<(), Error> {
        let now = self.now_ms();
        let mut db = self.0.database.acquire().await?;
        if failure.is_some_and(may_succeed_later) && claimed.failures + 1 < MAX_ATTEMPTS {
            let doublings = claimed.failures.clamp(0, MAX_ATTEMPTS);
            let pause = FIRST_PAUSE.saturating_mul(1 << doublings).as_millis();
            let due = now.saturating_add(i64::try_from(pause).unwrap_or(i64::MAX));
            claimed.failed(&mut db, due).await?;
        } else {
            claimed.end(&mut db, now).await?;
        }
        Ok(())
    }
}

/// Whether what has failed depends on the database, on another server, or on chance.
fn may_succeed_later(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable
            | ErrorKind::Internal
            | ErrorKind::BadGateway
            | ErrorKind::LimitExceeded { .. }
    )
}
