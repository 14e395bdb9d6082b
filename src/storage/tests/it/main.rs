//! The stream and the committer against a real PostgreSQL.
#![expect(
    clippy::expect_used,
    reason = "what a test needs and does not get fails it"
)]

mod cancelled;
mod committer;
mod device_lists;
mod devices;
mod events;
mod feed;
mod inbox;
mod outliers;
mod pending_redactions;
mod processes;
mod remote_device_lists;
mod search;
mod state;
mod support;
mod user_directory;
