//! Rooms on a real PostgreSQL.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what a test needs and does not get fails it"
)]

mod creation;
mod directory;
mod history;
mod joins;
mod membership;
mod receipts;
mod redaction;
mod sending;
mod support;
mod visibility;
