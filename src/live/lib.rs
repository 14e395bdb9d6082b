//! The recent past in memory: timelines, members, last-changed positions, waiters.
//!
//! Users and rooms are read from the database when somebody looks at them, kept up to date by the
//! feed, and dropped when memory is short. Whoever waits is woken when something changes for the
//! user, and then looks; a wake-up carries no data.

mod apply;
mod ephemeral;
mod handle;
mod load;
mod look;
mod members;
mod memory;
mod moment;
mod room;
pub mod sight;
mod typing;
mod unread;
mod user;
mod watch;

pub use handle::Live;
pub use look::{Look, Want};
pub use members::{Heroes, Members};
pub use moment::{Moment, Reader, shared};
pub use room::Room;
pub use unread::{Count, ReadUpTo, Tally, Thread, Undone};
pub use user::{Datum, User};
pub use watch::Watch;
