//! Sending message events.

use ruma::{OwnedEventId, RoomId, events::TimelineEventType};
use serde::Deserialize;
use serde_json::value::RawValue;
use storage::CommitError;

use crate::{Error, Rooms, Sender, append::NewEvent, transactions::Key};

/// The longest transaction id in bytes.
pub(crate) const MAX_TRANSACTION_ID: usize = 255;

/// A message event that a client sends.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Its type.
    pub event_type: TimelineEventType,
    /// Its content.
    pub content: Box<RawValue>,
}

impl Rooms {
    /// Sends a message event; the same transaction of the same sender returns the same event.
    #[tracing::instrument(name = "room.send", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn send(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        message: NewMessage,
    ) -> Result<OwnedEventId, Error> {
        let transaction = sender.stored_transaction(None);
        if let Some(target) = redacts(&message.event_type, &message.content) {
            return self
                .redact_with(room_id, sender, &target, message.content, transaction)
                .await;
        }
        let event = NewEvent {
            sender: sender.user_id.clone(),
            event_type: message.event_type,
            state_key: None,
            content: message.content,
            redacts: None,
            transaction,
        };
        let sent = self.send_idempotent(room_id, event).await;
        sent.map_err(Error::hiding_unknown_room)
    }

    /// Appends an event once per client transaction; a repeated one returns the first event id.
    pub(crate) async fn send_idempotent(
        &self,
        room_id: &RoomId,
        event: NewEvent,
    ) -> Result<OwnedEventId, Error> {
        let Some(transaction) = event.transaction.clone() else {
            return self
                .write(room_id, 1, |appender| appender.append(event.clone()))
                .await;
        };
        if transaction.id.len() > MAX_TRANSACTION_ID {
            return Err(Error::Invalid("The transaction id is too long".to_owned()));
        }
        let key = Key {
            room_nid: self.head(room_id).await?.room_nid,
            id: transaction.key(&event.event_type.to_string()),
            event_type: event.event_type.to_string(),
        };
        let device_id = transaction.device_id.as_deref();
        let result = (self.0.transactions).result_of(&event.sender, device_id, key);
        let made = result.get_or_try_init(async || {
            let made = self.write(room_id, 1, |appender| appender.append(event.clone()));
            match made.await {
                Err(Error::Commit(CommitError::DuplicateTransaction(event_id))) => Ok(event_id),
                made => made,
            }
        });
        made.await.cloned()
    }
}

/// What a redaction redacts that is sent like any other message.
fn redacts(event_type: &TimelineEventType, content: &RawValue) -> Option<OwnedEventId> {
    #[derive(Deserialize)]
    struct Content {
        redacts: OwnedEventId,
    }
    if *event_type != TimelineEventType::RoomRedaction {
        return None;
    }
    let content: Content = serde_json::from_str(content.get()).ok()?;
    Some(content.redacts)
}
