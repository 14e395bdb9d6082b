//! Followers and jobs against a real PostgreSQL.
#![expect(
    clippy::expect_used,
    reason = "what a test needs and does not get fails it"
)]

mod followers;
mod jobs;
