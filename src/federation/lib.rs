//! Talks to other servers: federation policy, server discovery, their signing keys, signed requests in both directions.

mod client;
mod devices;
mod discovery;
mod error;
mod events;
mod handle;
mod hierarchy;
mod inbound_limits;
pub mod inputs;
mod keys;
mod media;
mod membership;
mod metrics;
pub mod multipart;
mod policy;
mod policy_servers;
mod public_rooms;
mod requests;
mod signature;
mod transactions;

pub use devices::{OneTimeKeys, UserDevices, UserKeys};
pub use error::{Error, Result};
pub use events::{AtTime, Gap, StateIds};
pub use handle::Federation;
pub use hierarchy::Hierarchy;
pub use keys::OwnKeys;
pub use media::{MediaFile, ThumbnailRequest};
pub use membership::{JoinedRoom, Template};
pub use policy::{Exchange, Policy};
pub use public_rooms::PublicRooms;
pub use requests::ResolvedAlias;
pub use signature::Credentials;

#[cfg(test)]
mod tests;
