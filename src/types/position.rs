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
    /// A position in the stream of changes that may be lost on a restart (typing). Each process has
    /// its own counter, which follows the database's clock; its lowest bits identify the process.
    EphemeralPosition
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
    /// Identifies the complete state of a room after an event.
    SnapshotNid
}
