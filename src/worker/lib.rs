//! Background work: supervised tasks and followers of the stream.

mod follower;
mod supervisor;

pub use follower::Follower;
pub use supervisor::{Supervisor, Unfinished};
