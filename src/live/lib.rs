//! The recent past in memory: timelines, members, last-changed positions, waiters.

pub mod sight;
