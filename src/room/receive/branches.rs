//! Merging the branches of a room's graph, when other servers make many of them.

use event::{MAX_PREV_EVENTS, PowerLevels, filter::DUMMY_EVENT_TYPE};
use ruma::{OwnedUserId, RoomId};
use serde_json::value::RawValue;

use crate::{Error, Rooms, append::NewEvent, head::Head, remote::joined};

/// How many events are sent at once for this.
const MAX_EVENTS: usize = 8;

impl Rooms {
    /// Sends events that follow the ends of a room's graph, if there are more than one event may
    /// follow: each further event would have the states at all of them resolved. Does nothing if no
    /// user of this server may send in the room.
    pub(super) async fn merge_branches(&self, room_id: &RoomId) -> Result<(), Error> {
        for _ in 0..MAX_EVENTS {
            let head = self.head(room_id).await?;
            if head.state.extremities().len() <= MAX_PREV_EVENTS {
                break;
            }
            let Some(sender) = self.likely_sender(&head) else {
                break;
            };
            let event = NewEvent {
                sender,
                event_type: DUMMY_EVENT_TYPE.into(),
                state_key: None,
                content: RawValue::from_string("{}".to_owned())
                    .map_err(|error| Error::BadContent(error.to_string()))?,
                redacts: None,
                transaction: None,
            };
            let sent = self.write(room_id, 1, |appender| appender.append(event.clone()));
            if let Err(error) = Box::pin(sent).await {
                tracing::info!(room.id = %room_id, %error, "The branches of a room could not be merged");
                break;
            }
        }
        Ok(())
    }

    /// A user of this server who may send events in a room.
    fn likely_sender(&self, head: &Head) -> Option<OwnedUserId> {
        let levels = PowerLevels::of(head.state.core(), &head.version);
        let mut members = joined(head);
        let found = members.find(|user_id| {
            self.is_local(user_id) && levels.can_send(user_id, DUMMY_EVENT_TYPE, false)
        });
        found.map(ToOwned::to_owned)
    }
}
