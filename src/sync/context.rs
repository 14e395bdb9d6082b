//! What a response is collected for, whichever protocol it is written in.

use live::{Live, Subscription, View};
use ruma::{DeviceId, UserId};
use storage::Database;
use types::{StreamPosition, SyncToken};

/// A device that syncs, and the view from which its updates are collected.
#[derive(Clone, Copy)]
pub(crate) struct SyncContext<'a> {
    pub(crate) user_id: &'a UserId,
    pub(crate) device_id: &'a DeviceId,
    pub(crate) database: &'a Database,
    pub(crate) live: &'a Live,
    pub(crate) subscription: &'a Subscription,
    pub(crate) view: &'a View,
    /// The request's token, as far as this process can interpret it; none for an initial sync.
    pub(crate) since: Option<SyncToken>,
    /// The token after which ephemeral changes are returned: perhaps again.
    pub(crate) possibly_missed: Option<SyncToken>,
}

impl SyncContext<'_> {
    /// Stream changes after this are new.
    pub(crate) fn since_stream(&self) -> Option<StreamPosition> {
        self.since.map(|since| since.stream)
    }
}
