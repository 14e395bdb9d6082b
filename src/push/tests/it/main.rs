//! Pushing to real HTTP servers on loopback.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what a test needs and does not get fails it"
)]

mod badges;
mod events;
mod failures;
mod processes;
mod pushers;
mod support;
