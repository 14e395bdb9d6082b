//! Answers `/sync`: what changed for this device since its token.
//!
//! **Invariant:** this crate only reads; the one thing it deletes is what a device acknowledges.

mod answer;
mod error;
mod filter;
mod heroes;
mod lazy_members;
mod share;
mod state;
mod stored_filters;
mod streams;
mod timeline;
mod unread;
mod v3;
mod wait;
mod writer;

pub use error::Error;
pub use v3::Request;
pub use wait::Syncs;
