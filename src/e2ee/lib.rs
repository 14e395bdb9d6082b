//! End-to-end encryption: device keys, one-time keys, cross-signing, to-device messages.
//!
//! The server verifies the signatures that it has keys for and returns the others unchanged; clients
//! verify all of them.

mod ask;
mod claim;
mod cross_signing;
mod dehydrated;
mod device_lists;
mod error;
mod identifiers;
mod key_backups;
mod key_cache;
mod keys;
mod query;
mod remote_lists;
mod serve;
mod signatures;
mod signed;
mod to_device;
mod upload;

pub use claim::{ClaimedKeys, Claims};
pub use cross_signing::{CrossSigningUpload, KeyReplacement};
pub use error::Error;
pub use key_backups::{BackupUpdate, RoomKeys};
pub use keys::{Keys, Settings};
pub use query::QueriedKeys;
pub use remote_lists::{DeviceListUpdate, SigningKeyUpdate};
pub use signatures::SignatureFailures;
pub use storage::key_backups::{BackedUpKey, BackupSize, KeyBackup, Selection as KeySelection};
pub use to_device::{MAX_MESSAGE_BYTES, Messages};
pub use upload::KeyUpload;
