//! Metrics of this crate.

use metrics::{counter, gauge};
use types::{ErrorKind, Fault as _};

use crate::Error;

/// How a request for a file of another server was served.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Served {
    /// From the cache.
    Cached,
    /// By a fetch that was under way.
    Joined,
    /// By a new fetch.
    Fetched,
}

/// Counts a request for a file of another server.
pub(crate) fn record_served(served: Served) {
    let source = match served {
        Served::Cached => "cache",
        Served::Joined => "joined",
        Served::Fetched => "fetch",
    };
    counter!("chancery_media_remote_requests_total", "source" => source).increment(1);
}

/// Counts a fetch of another server's file.
pub(crate) fn record_fetch(outcome: Result<u64, &Error>) {
    let label = match outcome {
        Ok(bytes) => {
            counter!("chancery_media_fetched_bytes_total").increment(bytes);
            "ok"
        }
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotYetUploaded => "not_found",
            ErrorKind::RemoteTooLarge => "too_large",
            ErrorKind::BadGateway => "unreachable",
            _ => "failed",
        },
    };
    counter!("chancery_media_fetches_total", "outcome" => label).increment(1);
}

/// What the cache takes, in bytes.
pub(crate) fn set_cache_bytes(bytes: u64) {
    gauge!("chancery_media_cache_bytes").set(bytes as f64);
}

/// Counts files removed from the cache.
pub(crate) fn record_evictions(files: usize) {
    counter!("chancery_media_cache_evictions_total").increment(files as u64);
}
