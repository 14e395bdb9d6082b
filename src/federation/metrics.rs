//! Metrics of this crate.

use metrics::{counter, histogram};

use crate::{Error, Result};

/// Records a request to another server.
pub(crate) fn record_request<T>(outcome: &Result<T>, seconds: f64) {
    let outcome = match outcome {
        Ok(_) => "ok",
        Err(Error::Remote { .. }) => "refused",
        Err(Error::Unreachable { .. }) => "unreachable",
        Err(_) => "invalid",
    };
    histogram!("chancery_federation_request_duration_seconds", "outcome" => outcome)
        .record(seconds);
}

/// Counts a fetch of another server's keys.
pub(crate) fn record_key_fetch<T>(outcome: &Result<T>) {
    let outcome = if outcome.is_ok() { "ok" } else { "failed" };
    counter!("chancery_federation_key_fetches_total", "outcome" => outcome).increment(1);
}

/// Counts the verification of a request of another server.
pub(crate) fn record_verification<T>(outcome: &Result<T>) {
    let outcome = match outcome {
        Ok(_) => "ok",
        Err(Error::NotAllowed(_)) => "not_allowed",
        Err(Error::LimitExceeded { .. }) => "limited",
        Err(Error::Unreachable { .. }) => "keys_unreachable",
        Err(_) => "refused",
    };
    counter!("chancery_federation_verified_requests_total", "outcome" => outcome).increment(1);
}

/// Counts a request of another server that has sent too many.
pub(crate) fn count_limited_request() {
    counter!("chancery_federation_limited_requests_total").increment(1);
}
