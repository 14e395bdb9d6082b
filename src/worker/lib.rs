//! Background work: supervised tasks, followers of the stream and jobs.

mod follower;
pub mod jobs;
mod supervisor;

pub use follower::{Batch, Follower, FollowerBuilder, Start};
pub use jobs::Jobs;
pub use supervisor::{Supervisor, UnfinishedTasks};
