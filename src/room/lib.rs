//! Rooms: sending, membership, state, history.
//!
//! **Invariant:** only `append.rs` writes the event graph.

mod append;
mod error;
mod head;
mod rooms;
mod send;
mod transactions;

pub use error::Error;
pub use rooms::{Rooms, Settings};
pub use send::Outgoing;
