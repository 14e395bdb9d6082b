//! The parameters of a `/sync` request.

use std::{sync::Arc, time::Duration};

use live::PresenceState;
use ruma::{OwnedDeviceId, OwnedUserId, api::client::filter::FilterDefinition};
use types::SyncToken;

/// The parameters of a `/sync` request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device.
    pub device_id: OwnedDeviceId,
    /// The `next_batch` of the last response; none for an initial sync.
    pub since: Option<SyncToken>,
    /// The filter.
    pub filter: Arc<FilterDefinition>,
    /// Whether to return the full state of all rooms.
    pub full_state: bool,
    /// Whether to return the state at the end of the timeline instead of its start.
    pub use_state_after: bool,
    /// How the device wants to be shown while it syncs.
    pub set_presence: PresenceState,
    /// How long to wait if there are no changes.
    pub timeout: Duration,
}
