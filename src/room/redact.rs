//! Redacting events.
//!
//! Spec: client-server, "Redactions"; rooms, "Handling redactions".

use std::sync::Arc;

use ruma::{EventId, OwnedEventId, RoomId, events::TimelineEventType};
use serde_json::{Map, Value, value::RawValue};
use storage::{Transaction, events, stream::Redacted};

use crate::{
    Error, Rooms, Sender,
    append::{KnownTarget, NewEvent, Redaction},
    content::raw,
};

impl Rooms {
    /// Redacts an event; the same transaction of the same sender returns the same redaction.
    #[tracing::instrument(name = "room.redact", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn redact(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        target: &EventId,
        reason: Option<&str>,
    ) -> Result<OwnedEventId, Error> {
        let mut content = Map::new();
        if let Some(reason) = reason {
            content.insert("reason".to_owned(), reason.into());
        }
        let transaction = sender.stored_transaction(Some(target));
        let content = raw(&Value::Object(content))?;
        self.redact_with(room_id, sender, target, content, transaction)
            .await
    }

    /// Redacts an event by a redaction with the content. One that is not known, as it has not come
    /// yet from another server, can be redacted by those who may redact all.
    pub(crate) async fn redact_with(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        target: &EventId,
        content: Box<RawValue>,
        transaction: Option<Transaction>,
    ) -> Result<OwnedEventId, Error> {
        let head = self
            .head(room_id)
            .await
            .map_err(Error::hiding_unknown_room)?;
        head.require_member(&sender.user_id)?;
        let found = {
            let mut db = self.0.database.acquire().await?;
            events::by_ids(&mut db, &[target.to_owned()]).await?.pop()
        };
        if found
            .as_ref()
            .is_some_and(|found| found.room_nid != head.room_nid)
        {
            return Err(Error::UnknownEvent);
        }
        let known = found.map(|found| {
            let left = event::redact(&head.version, &found.pdu)?;
            Ok::<_, Error>(KnownTarget {
                sender: found.pdu.sender().to_owned(),
                redacted: Redacted {
                    event_nid: found.nid,
                    history_order: found.history_order,
                    pdu: Arc::new(left),
                },
            })
        });
        let event = NewEvent {
            sender: sender.user_id.clone(),
            event_type: TimelineEventType::RoomRedaction,
            state_key: None,
            content,
            redacts: Some(Redaction {
                target: target.to_owned(),
                known: known.transpose()?,
            }),
            transaction,
        };
        self.send_idempotent(room_id, event).await
    }
}
