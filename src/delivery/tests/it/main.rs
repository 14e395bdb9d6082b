//! Sending to real HTTPS servers on loopback.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what a test needs and does not get fails it"
)]

mod devices;
mod events;
mod many;
mod partial_states;
mod presence;
mod processes;
mod refused;
mod support;
