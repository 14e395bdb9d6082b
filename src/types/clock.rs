//! The only source of wall-clock time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use ruma::MilliSecondsSinceUnixEpoch;

/// A source of wall-clock time: the system's, or a fixed one that tests advance.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Fixed(Arc<AtomicU64>),
}

impl Clock {
    /// The operating system's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `millis` since the Unix epoch until it is advanced.
    pub fn fixed(millis: u64) -> Self {
        Self(Source::Fixed(Arc::new(AtomicU64::new(millis))))
    }

    /// Milliseconds since the Unix epoch.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everything else asks"
    )]
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Source::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |elapsed| {
                    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
                }),
            Source::Fixed(millis) => millis.load(Ordering::Relaxed),
        }
    }

    /// The time now as Matrix writes it.
    pub fn now(&self) -> MilliSecondsSinceUnixEpoch {
        MilliSecondsSinceUnixEpoch(ruma::UInt::try_from(self.now_ms()).unwrap_or(ruma::UInt::MAX))
    }

    /// Moves a fixed clock forward; the system's clock is not moved.
    pub fn advance(&self, millis: u64) {
        if let Source::Fixed(now) = &self.0 {
            now.fetch_add(millis, Ordering::Relaxed);
        }
    }
}
