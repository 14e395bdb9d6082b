//! What is counted about users.

use metrics::{counter, gauge};

/// An access token had to be looked up in the database.
pub(crate) fn token_looked_up(cache_bytes: u64) {
    counter!("chancery_identity_token_lookups_total").increment(1);
    gauge!("chancery_identity_token_cache_bytes").set(cache_bytes as f64);
}

/// Somebody tried to log in.
pub(crate) fn login(accepted: bool) {
    let outcome = if accepted { "accepted" } else { "refused" };
    counter!("chancery_identity_logins_total", "outcome" => outcome).increment(1);
}
