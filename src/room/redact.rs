//! Redacting events.
//!
//! Spec: client-server, "Redactions"; rooms, "Handling redactions".

use std::sync::Arc;

use ruma::{DeviceId, EventId, OwnedEventId, RoomId, UserId, events::TimelineEventType};
use serde_json::{Map, Value, value::RawValue};
use storage::{Transaction, events, stream::Redacted};

use crate::{
    Error, Rooms,
    append::{NewEvent, Redaction},
    create::raw,
};

impl Rooms {
    /// Withdraws the content of an event; the same transaction of the same device gets the same
    /// answer.
    #[tracing::instrument(name = "room.redact", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn redact(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        device_id: &DeviceId,
        target: &EventId,
        transaction_id: String,
        reason: Option<&str>,
    ) -> Result<OwnedEventId, Error> {
        let mut content = Map::new();
        if let Some(reason) = reason {
            content.insert("reason".to_owned(), reason.into());
        }
        let transaction = Transaction {
            device_id: device_id.to_owned(),
            target: Some(target.to_owned()),
            id: transaction_id,
        };
        let content = raw(&Value::Object(content))?;
        self.redact_with(room_id, sender, target, content, transaction)
            .await
    }

    /// Withdraws the content of an event by a redaction of that content.
    pub(crate) async fn redact_with(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        target: &EventId,
        content: Box<RawValue>,
        transaction: Transaction,
    ) -> Result<OwnedEventId, Error> {
        let head = self
            .head(room_id)
            .await
            .map_err(Error::hiding_unknown_room)?;
        head.require_member(sender)?;
        let found = {
            let mut db = self.0.database.acquire().await?;
            events::find(&mut db, head.room_nid, target)
                .await?
                .ok_or(Error::UnknownEvent)?
        };
        let left = event::redact(&head.version, &found.pdu)?;
        let event = NewEvent {
            sender: sender.to_owned(),
            event_type: TimelineEventType::RoomRedaction,
            state_key: None,
            content,
            redacts: Some(Redaction {
                target: target.to_owned(),
                target_sender: found.pdu.sender().to_owned(),
                redacted: Redacted {
                    event_nid: found.nid,
                    history_order: found.history_order,
                    pdu: Arc::new(left),
                },
            }),
            transaction: Some(transaction),
        };
        self.send_idempotent(room_id, event).await
    }
}
