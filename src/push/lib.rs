//! Tells push gateways of the notifications of users.
//!
//! A follower of the stream finds out whom an event notifies, by the same evaluation of push rules that
//! counts unread notifications, and posts it to the push gateways of the users' pushers. Nothing is
//! written for what arrives. While a gateway fails, its pushers keep the position up to which they were
//! sent everything; what is still unread is looked up again when they are due.

mod badge;
mod changes;
mod deliver;
mod error;
mod evaluate;
mod follow;
mod gateway;
mod handle;
mod metrics;
mod notification;
mod pushers;
mod retry;
mod users;

pub use error::Error;
pub use handle::{Push, Settings};
pub use pushers::PusherDraft;
pub use storage::pushers::Pusher;
