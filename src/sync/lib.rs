//! `/sync`: what changed for a device since its token.
//!
//! **Invariant:** this crate only reads; all it deletes is acknowledged to-device messages.

mod coalesce;
mod context;
mod error;
mod event_writer;
mod filter;
mod heroes;
mod lazy_members;
mod request;
mod response;
mod state;
mod stored_filters;
mod streams;
mod timeline;
mod unread;
mod v3;
mod wait;

pub use error::Error;
pub use request::Request;
pub use wait::Syncs;
