//! Sends to other servers what concerns them: the events of rooms that their users are in, and what
//! is not part of any room.
//!
//! A follower of the stream fills a queue for each server in the database; the senders of all
//! processes empty them. A server that cannot be reached is tried again after a growing pause.

mod device_lists;
mod edus;
mod follow;
mod handle;
mod metrics;
mod notices;
mod presence;
mod refused;
mod room_servers;
mod send;
mod transaction;
mod typing;

pub use handle::{Delivery, Load, Settings};
