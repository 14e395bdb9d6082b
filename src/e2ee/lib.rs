//! End-to-end encryption: device keys, one-time keys, cross-signing, to-device messages.
//!
//! The server checks every signature that it can check and hands out the rest as it is; clients
//! trust nothing of it without checking themselves.

mod claim;
mod cross_signing;
mod device_lists;
mod error;
mod keys;
mod names;
mod query;
mod signatures;
mod signed;
mod to_device;
mod upload;

pub use claim::ClaimedKeys;
pub use cross_signing::{CrossSigningUpload, Replacing};
pub use error::Error;
pub use keys::Keys;
pub use query::QueriedKeys;
pub use signatures::Refused;
pub use to_device::{MAX_MESSAGE_BYTES, Messages};
pub use upload::Upload;
