//! The parts of a response, one file each.

use crate::{Error, context::SyncContext, response::Response};

pub(crate) mod account_data;
pub(crate) mod device_lists;
pub(crate) mod key_counts;
pub(crate) mod rooms;
pub(crate) mod to_device;

/// A part of the response.
pub(crate) trait Stream {
    /// Writes what changed, and sets `has_changes`.
    async fn write(&self, context: &SyncContext<'_>, response: &mut Response) -> Result<(), Error>;
}
