//! Background work: tasks that are supervised, restarted when they fail, and ended in order.

mod supervisor;

pub use supervisor::{Supervisor, Unfinished};
