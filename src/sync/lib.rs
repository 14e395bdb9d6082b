//! `/sync`: what changed for a device since its token; and `/notifications`.
//!
//! A request becomes a query ([`query`]); what is new is collected ([`collect`]) as typed updates
//! ([`updates`]), which know nothing of the request, and written in the format of the protocol
//! ([`v3`], [`sliding`]).
//!
//! **Invariant:** this crate only reads; all it deletes is acknowledged to-device messages, and all it
//! writes is what clients of sliding sync have been sent.

mod collect;
mod context;
mod error;
mod notifications;
mod query;
mod required_state;
mod sliding;
mod updates;
mod v3;
mod wait;

pub use error::Error;
pub use notifications::{NotificationPage, NotificationQuery, NotifyingEvent};
pub use sliding::request as sliding_sync;
pub use v3::request::Request;
pub use wait::{Settings, SyncResponder};
