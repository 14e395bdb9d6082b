//! Delayed events (MSC4140): users schedule them, and whoever knows their ids restarts, cancels or sends them.
//!
//! What is due is sent by one of the processes ([`send`]); state that others have set in the meantime cancels
//! what was to replace it ([`replaced`]).

mod replaced;
mod send;

use std::time::Duration;

use event::{FormatError, MAX_EVENT_BYTES, MAX_FIELD_BYTES};
use ruma::{RoomId, UserId, events::TimelineEventType};
use serde_json::value::RawValue;
use storage::delayed_events::{self, DelayRequest, DelayedEvent, NewDelayedEvent};
use tokio::sync::Notify;

use crate::{Error, Rooms, Sender, send::MAX_TRANSACTION_ID};

/// How many letters the id of a delayed event has: whoever knows it may send the event.
const ID_LETTERS: usize = 32;

/// An event that a user wants to be sent later.
#[derive(Clone, Debug)]
pub struct DelayedDraft {
    /// Its type.
    pub event_type: TimelineEventType,
    /// Its state key; none for a message.
    pub state_key: Option<String>,
    /// Its content.
    pub content: Box<RawValue>,
    /// How long it is to wait.
    pub delay: Duration,
}

/// What this process knows of delayed events.
#[derive(Debug, Default)]
pub(crate) struct Delayed {
    /// An event was scheduled, which may be due before all others.
    scheduled: Notify,
}

impl Rooms {
    /// Schedules an event, once however often the transaction of the sender is repeated, and returns its
    /// id. Whether the sender may send it is decided when it is due.
    #[tracing::instrument(name = "room.schedule", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn schedule(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        draft: DelayedDraft,
    ) -> Result<String, Error> {
        check(&draft)?;
        let limits = &self.0.settings.limits;
        if draft.delay > limits.max_event_delay {
            return Err(Error::DelayTooLong(limits.max_event_delay));
        }
        let head = self.head(room_id).await;
        head.map_err(Error::hiding_unknown_room)?
            .require_member(&sender.user_id)?;
        let event_type = draft.event_type.to_string();
        let request = request(room_id, sender, &event_type)?;
        let delay_id = types::random::letters(ID_LETTERS).map_err(|_| {
            storage::Error::Corrupt("the operating system gave no randomness".to_owned())
        })?;
        let new = NewDelayedEvent {
            delay_id: &delay_id,
            request,
            state_key: draft.state_key.as_deref(),
            content: draft.content.get(),
            delay_ms: i64::try_from(draft.delay.as_millis()).unwrap_or(i64::MAX),
            now_ms: self.now_ms(),
        };
        let limit = i64::from(limits.delayed_events_per_user);
        let scheduled = {
            let mut db = self.0.database.acquire().await?;
            delayed_events::insert(&mut db, new, limit).await?
        };
        let scheduled = scheduled.ok_or_else(|| limits.too_many_delayed_events())?;
        self.0.delayed.scheduled.notify_one();
        Ok(scheduled)
    }

    /// The id of the event that the sender's transaction has scheduled, if it is repeated.
    pub async fn scheduled_by(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        event_type: &str,
    ) -> Result<Option<String>, Error> {
        let request = request(room_id, sender, event_type)?;
        let mut db = self.0.database.acquire().await?;
        Ok(delayed_events::scheduled_by(&mut db, request).await?)
    }

    /// The delayed events of a user that wait, the next one first.
    pub async fn delayed_events(&self, user_id: &UserId) -> Result<Vec<DelayedEvent>, Error> {
        let mut db = self.0.database.acquire().await?;
        Ok(delayed_events::of_user(&mut db, user_id).await?)
    }

    /// A delayed event of a user that waits.
    pub async fn delayed_event(
        &self,
        user_id: &UserId,
        delay_id: &str,
    ) -> Result<DelayedEvent, Error> {
        let mut db = self.0.database.acquire().await?;
        let found = delayed_events::find(&mut db, user_id, delay_id).await?;
        found.ok_or(Error::UnknownDelayedEvent)
    }

    /// Lets the delay of an event begin again.
    pub async fn restart_delayed_event(&self, delay_id: &str) -> Result<(), Error> {
        let mut db = self.0.database.acquire().await?;
        let restarted = delayed_events::restart(&mut db, delay_id, self.now_ms()).await?;
        waited(restarted)
    }

    /// Cancels an event: it will not be sent.
    pub async fn cancel_delayed_event(&self, delay_id: &str) -> Result<(), Error> {
        let mut db = self.0.database.acquire().await?;
        let cancelled = delayed_events::cancel(&mut db, delay_id, self.now_ms()).await?;
        waited(cancelled)
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.0.clock.now_ms()).unwrap_or(i64::MAX)
    }
}

fn waited(waited: bool) -> Result<(), Error> {
    if waited {
        Ok(())
    } else {
        Err(Error::UnknownDelayedEvent)
    }
}

fn request<'a>(
    room_id: &'a RoomId,
    sender: &'a Sender,
    event_type: &'a str,
) -> Result<DelayRequest<'a>, Error> {
    let transaction_id = sender.transaction.as_ref().map(|id| id.as_str());
    if transaction_id.is_some_and(|id| id.len() > MAX_TRANSACTION_ID) {
        return Err(Error::Invalid("The transaction id is too long".to_owned()));
    }
    Ok(DelayRequest {
        user_id: &sender.user_id,
        device_id: sender.device_id.as_deref(),
        room_id,
        event_type,
        transaction_id,
    })
}

/// Refuses what can never be an event, whatever becomes of the room.
fn check(draft: &DelayedDraft) -> Result<(), Error> {
    let event_type = draft.event_type.to_string();
    let state_key = draft.state_key.as_deref().unwrap_or_default();
    for (what, bytes, limit) in [
        ("type", event_type.len(), MAX_FIELD_BYTES),
        ("state_key", state_key.len(), MAX_FIELD_BYTES),
        ("content", draft.content.get().len(), MAX_EVENT_BYTES),
    ] {
        if bytes > limit {
            return Err(FormatError::TooLarge { what, bytes, limit }.into());
        }
    }
    event::canonical_object(draft.content.get())?;
    Ok(())
}
