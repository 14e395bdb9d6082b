//! Redacting events.
//!
//! Spec: client-server, "Redactions"; rooms, "Handling redactions".

use std::sync::Arc;

use event::PowerLevels;
use ruma::{DeviceId, EventId, OwnedEventId, RoomId, UserId, events::TimelineEventType};
use serde_json::{Map, Value, value::RawValue};
use storage::{Transaction, events, stream::Redacted};

use crate::{Error, Rooms, append::NewEvent, create::raw};

impl Rooms {
    /// Withdraws the content of an event; the same transaction of the same device gets the same
    /// answer.
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
        let levels = PowerLevels::of(&head.state, &head.version);
        // The rules let every redaction in that its sender may send; whether it takes effect is
        // for each server to judge. One without effect is refused here.
        if found.pdu.sender() != sender && !levels.can_redact_others(sender) {
            return Err(Error::Forbidden(
                "You may not redact what others sent in this room",
            ));
        }
        let left = event::redact(&head.version, &found.pdu)?;
        let event = NewEvent {
            sender: sender.to_owned(),
            event_type: TimelineEventType::RoomRedaction,
            state_key: None,
            content,
            redacts: Some((
                target.to_owned(),
                Some(Redacted {
                    event_nid: found.nid,
                    position: found.position,
                    pdu: Arc::new(left),
                }),
            )),
            transaction: Some(transaction),
        };
        self.send_idempotent(room_id, event).await
    }
}
