//! Metrics of this crate; never by user or gateway.

use metrics::{counter, gauge};

/// Counts a request to a push gateway.
pub(crate) fn request(outcome: &'static str) {
    counter!("chancery_push_requests_total", "outcome" => outcome).increment(1);
}

/// Counts a notification that a push gateway has accepted.
pub(crate) fn sent(kind: &'static str) {
    counter!("chancery_push_sent_total", "kind" => kind).increment(1);
}

/// How many pushers wait until their gateways are tried again.
pub(crate) fn waiting(count: u64) {
    gauge!("chancery_push_waiting").set(count as f64);
}
