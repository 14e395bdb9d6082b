//! What states have resolved to lately: events that follow the same branches have the same state before
//! them.

use std::sync::Arc;

use moka::sync::Cache;
use types::{EventNid, SnapshotNid, StateKeyNid};

/// The most memory that is taken, in bytes.
const MAX_BYTES: u64 = 8 << 20;

/// How a resolved state differs from the first of the states, by number.
pub(super) type Changes = Vec<(StateKeyNid, Option<EventNid>)>;

/// Results by the snapshots that were resolved, in their order. Neither those nor what they resolve to
/// ever changes.
#[derive(Debug)]
pub(crate) struct Resolutions(Cache<Vec<SnapshotNid>, Arc<Changes>>);

impl Default for Resolutions {
    fn default() -> Self {
        let cache = Cache::builder().max_capacity(MAX_BYTES).weigher(
            |snapshots: &Vec<SnapshotNid>, changes: &Arc<Changes>| {
                let bytes = size_of_val(&**snapshots) + size_of_val(&***changes) + 128;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            },
        );
        Self(cache.build())
    }
}

impl Resolutions {
    pub(super) fn find(&self, snapshots: &[SnapshotNid]) -> Option<Arc<Changes>> {
        self.0.get(snapshots)
    }

    pub(super) fn insert(&self, snapshots: Vec<SnapshotNid>, changes: Changes) -> Arc<Changes> {
        let changes = Arc::new(changes);
        self.0.insert(snapshots, Arc::clone(&changes));
        changes
    }
}
