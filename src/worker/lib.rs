//! Background work: tasks that are supervised, restarted when they fail, and ended in order;
//! followers of the stream; jobs.

mod follower;
pub mod jobs;
mod supervisor;

pub use follower::{Batch, Follower, FollowerBuilder, Start};
pub use jobs::Jobs;
pub use supervisor::{Supervisor, Unfinished};
