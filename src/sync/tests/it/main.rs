//! `/sync` on a real PostgreSQL.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "what a test needs and does not get fails it"
)]

mod budget;
mod devices;
mod filters;
mod first;
mod gaps;
mod leaving;
mod memory;
mod model;
mod presence;
mod processes;
mod since;
mod sliding;
mod stored_unread;
mod support;
mod unread;
mod visibility;
mod waiting;
