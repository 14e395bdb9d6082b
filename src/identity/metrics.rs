//! Metrics of this crate.

use metrics::{counter, gauge};

/// Counts an access-token lookup in the database.
pub(crate) fn record_token_lookup(cache_bytes: u64) {
    counter!("chancery_identity_token_lookups_total").increment(1);
    gauge!("chancery_identity_token_cache_bytes").set(cache_bytes as f64);
}

/// Counts a login attempt.
pub(crate) fn record_login(accepted: bool) {
    let outcome = if accepted { "accepted" } else { "refused" };
    counter!("chancery_identity_logins_total", "outcome" => outcome).increment(1);
}
