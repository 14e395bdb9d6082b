//! Types shared by all crates: stream positions, sync tokens, the clock, randomness, errors as clients see
//! them, permissions.

mod clock;
mod fault;
mod permission;
mod position;
pub mod random;
mod secret;
mod token;
mod user_limit;

pub use clock::Clock;
pub use fault::{ErrorKind, Fault};
pub use permission::{Admin, ManageAliases, ManageDirectory, Permission};
pub use position::{
    EphemeralPosition, EventNid, HistoryOrder, RoomNid, SnapshotNid, StateKeyNid, StreamPosition,
};
pub use secret::Secret;
pub use token::{InvalidToken, PageToken, SyncToken};
pub use user_limit::UserLimitExceeded;
