//! Rooms: sending, membership, state, history.
//!
//! **Invariant:** only `append.rs` writes the event graph.

pub mod aliases;
mod append;
mod create;
pub mod directory;
mod error;
mod head;
mod history;
mod membership;
mod receipts;
mod redact;
mod rooms;
mod send;
mod state;
mod transactions;
mod view;

pub use create::{CreateRoom, Preset};
pub use directory::{DirectoryPage, DirectoryQuery, RoomListing};
pub use error::Error;
pub use history::{Context, Page, PageRequest};
pub use membership::{MembershipChange, Profile};
pub use rooms::{Rooms, Settings};
pub use send::Outgoing;
