//! Metrics of this crate; by state, never by server.

use metrics::{counter, gauge};
use storage::destinations::DestinationCounts;

/// How many servers are in which state.
pub(crate) fn destinations(counts: DestinationCounts) {
    let states = [
        ("idle", counts.idle),
        ("active", counts.active),
        ("failing", counts.failing),
    ];
    for (state, count) in states {
        gauge!("chancery_delivery_destinations", "state" => state).set(count as f64);
    }
}

/// How many servers this process sends to.
pub(crate) fn sending(count: usize) {
    gauge!("chancery_delivery_sending").set(count as f64);
}

/// Counts a transaction.
pub(crate) fn transaction(outcome: &'static str) {
    counter!("chancery_delivery_transactions_total", "outcome" => outcome).increment(1);
}

/// Counts events that were sent, and those of them that the other server refused.
pub(crate) fn events(outcome: &'static str, count: usize) {
    counter!("chancery_delivery_events_total", "outcome" => outcome).increment(count as u64);
}

/// Counts something that a server refuses even alone: it is not sent to it again.
pub(crate) fn given_up(kind: &'static str) {
    counter!("chancery_delivery_given_up_total", "kind" => kind).increment(1);
}
