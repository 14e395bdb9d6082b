//! Uploads and downloads on a real PostgreSQL and a folder of their own.
#![expect(
    clippy::expect_used,
    reason = "what a test needs and does not get fails it"
)]

mod pending;
mod remote;
mod support;
mod thumbnail;
mod upload;
