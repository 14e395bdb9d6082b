//! Rooms on a real PostgreSQL.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what a test needs and does not get fails it"
)]

mod backfill;
mod budget;
mod creation;
mod delayed;
mod directory;
mod failures;
mod forked_visibility;
mod granting;
mod history;
mod inbox;
mod joins;
mod membership;
mod outside;
mod partial_joins;
mod policy_server;
mod processes;
mod receipts;
mod receiving;
mod redaction;
mod remote;
mod sending;
mod serving;
mod snapshots;
mod support;
mod versions;
mod visibility;
