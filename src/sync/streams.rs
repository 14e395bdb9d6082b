//! One file for each kind of change.

use crate::{Error, answer::Answer, v3::Ask};

pub(crate) mod account_data;
pub(crate) mod device_lists;
pub(crate) mod key_counts;
pub(crate) mod rooms;
pub(crate) mod to_device;

/// A kind of change that clients learn about.
pub(crate) trait Stream {
    /// Adds what is new to an answer, and says so.
    async fn write(&self, ask: &Ask<'_>, answer: &mut Answer) -> Result<(), Error>;
}
