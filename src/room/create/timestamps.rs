//! When rooms are created.

use std::sync::atomic::{AtomicU64, Ordering};

use ruma::{MilliSecondsSinceUnixEpoch, UInt};
use types::Clock;

/// Timestamps for create events, each used once: since room version 12 two create events of the
/// same content, user and millisecond would be one room.
#[derive(Debug, Default)]
pub(crate) struct CreationTimestamps(AtomicU64);

impl CreationTimestamps {
    pub(super) fn next(&self, clock: &Clock) -> MilliSecondsSinceUnixEpoch {
        let now = clock.now_ms();
        let later = |last: u64| Some(now.max(last + 1));
        let last = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, later)
            .unwrap_or_default();
        let next = UInt::try_from(now.max(last + 1)).unwrap_or(UInt::MAX);
        MilliSecondsSinceUnixEpoch(next)
    }
}
