//! One read of the history of rooms.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use storage::{
    Connection, Error,
    events::{self, UnreadQuery},
};
use types::{HistoryOrder, RoomNid, StreamPosition};

use super::{HistoryEvent, HistoryRange, RoomHistory};
use crate::unread::MAX_COUNTED;

/// How many bytes of events one read leaves for other users; a first sync of many rooms reads more.
const MAX_RETAINED: usize = 8 << 20;

/// What a read collects of a room.
pub(super) struct Reading {
    range: HistoryRange,
    events: Vec<Arc<HistoryEvent>>,
    visited: usize,
    oldest_main: Option<HistoryOrder>,
    main: usize,
}

impl Reading {
    pub(super) fn new(range: HistoryRange) -> Self {
        Self {
            range,
            events: Vec::new(),
            visited: 0,
            oldest_main: None,
            main: 0,
        }
    }

    /// Takes in an event, and keeps it if there is room for it.
    pub(super) fn push(&mut self, event: Arc<HistoryEvent>, keeps: bool) {
        self.visited += 1;
        if event.order > self.range.after_main {
            self.main += 1;
            let oldest = self.oldest_main.unwrap_or(event.order);
            self.oldest_main = Some(oldest.min(event.order));
        }
        if keeps {
            self.events.push(event);
        }
    }

    /// All events after this were read.
    pub(super) fn complete_after(&self) -> HistoryOrder {
        let is_cut = self.main >= MAX_COUNTED;
        let oldest = self.oldest_main.filter(|_| is_cut);
        oldest.unwrap_or(self.range.after_main)
    }

    /// What other users can use; `None` if not all of it was kept.
    pub(super) fn into_history(self, read_at: StreamPosition) -> Option<RoomHistory> {
        let complete_after = self.complete_after();
        (self.events.len() == self.visited).then_some(RoomHistory {
            range: self.range,
            complete_after,
            read_at,
            events: self.events,
        })
    }
}

/// Reads the ranges of rooms, and visits their events.
pub(super) async fn read(
    db: &mut Connection,
    readings: &mut HashMap<RoomNid, Reading>,
    visit: &mut impl FnMut(RoomNid, &HistoryEvent),
) -> Result<(), Error> {
    let wanted: Vec<UnreadQuery> = readings
        .iter()
        .map(|(room_nid, reading)| UnreadQuery {
            room_nid: *room_nid,
            after: reading.range.after,
            after_main: reading.range.after_main,
        })
        .collect();
    let mut retained = 0;
    events::unread(db, &wanted, MAX_COUNTED as i64, |found| {
        let event = Arc::new(HistoryEvent {
            order: found.order,
            pdu: found.pdu,
            is_redacted: found.is_redacted,
            flattened: OnceLock::new(),
        });
        visit(found.room_nid, &event);
        retained += event.weight();
        if let Some(reading) = readings.get_mut(&found.room_nid) {
            reading.push(event, retained <= MAX_RETAINED);
        }
    })
    .await
}
