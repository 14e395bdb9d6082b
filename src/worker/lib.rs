//! Background work: tasks that are supervised, restarted when they fail, and ended in order;
//! followers of the stream.

mod follower;
mod supervisor;

pub use follower::Follower;
pub use supervisor::{Supervisor, Unfinished};
