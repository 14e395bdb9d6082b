//! Stream positions, and the integers that stand for room and event ids inside the database (`*_nid`).

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl $name {
            /// The number as stored in the database.
            pub fn get(self) -> i64 {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<i64> for $name {
            fn from(number: i64) -> Self {
                Self(number)
            }
        }
    };
}

number! {
    /// A position in the stream of durable changes: a reader that has read up to it has seen
    /// everything at or before it.
    StreamPosition
}
number! {
    /// A position in the stream of changes that may be lost on a restart (typing, presence). Each process has
    /// its own counter, which follows the database's clock; its lowest bits identify the process.
    EphemeralPosition
}
number! {
    /// A place in the history of a room: parents before children. `/messages`, relations, page
    /// tokens and visibility use it; `/sync` uses [`StreamPosition`].
    ///
    /// An event that was appended to the timeline has an order that its position gives. One that
    /// is filled into a gap later gets one below its earliest known child, above what precedes the
    /// gap; an event that is known, but not part of the history, has none.
    HistoryOrder
}
number! {
    /// Stands for a room id inside the database and memory.
    RoomNid
}
number! {
    /// Stands for an event id inside the database and memory.
    EventNid
}
number! {
    /// Stands for an event type and state key inside the database and memory.
    StateKeyNid
}
number! {
    /// Names the complete state of a room after an event.
    SnapshotNid
}

/// How many events fit before an event of the timeline, as a power of two.
const GAP_BITS: u32 = 20;

impl StreamPosition {
    /// Before the first change.
    pub const START: Self = Self(0);
}

impl HistoryOrder {
    /// Before all events.
    pub const MIN: Self = Self(i64::MIN);

    /// The order of an event that was appended to the timeline at a position; as a place in the
    /// history, just after that event.
    pub const fn of(position: StreamPosition) -> Self {
        Self(position.0.saturating_mul(1 << GAP_BITS))
    }

    /// The place just before an event.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The position up to which the events of the timeline are at or before this place.
    pub const fn position(self) -> StreamPosition {
        StreamPosition(self.0 >> GAP_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::{HistoryOrder, StreamPosition};

    #[test]
    fn backfilled_events_are_ordered_between_their_neighbours() {
        let [earlier, later] = [4, 5].map(|position| HistoryOrder::of(StreamPosition(position)));
        let filled = later.before().before();
        assert!(earlier < filled && filled < later);
        assert_eq!(filled.position(), StreamPosition(4));
        assert_eq!(later.position(), StreamPosition(5));
        assert!(HistoryOrder::MIN < HistoryOrder::of(StreamPosition(0)).before());
        assert_eq!(HistoryOrder::MIN.before(), HistoryOrder::MIN);
    }
}
