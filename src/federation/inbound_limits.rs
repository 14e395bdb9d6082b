//! How often other servers may send requests.

use std::{sync::Arc, time::Duration};

use config::RateLimit;
use moka::sync::Cache;
use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use tokio::time::Instant;

use crate::{Error, Federation, Result, metrics};

/// Of how many servers it is known how much they have used up.
const MAX_SERVERS: u64 = 10_000;
/// A server that was silent for so long may send as much as at first.
const FORGET_AFTER: Duration = Duration::from_mins(10);

/// A token bucket for each server that has sent requests lately.
#[derive(Debug)]
pub(crate) struct InboundLimits(Cache<OwnedServerName, Arc<Mutex<Bucket>>>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl InboundLimits {
    pub(crate) fn new() -> Self {
        let buckets = Cache::builder().max_capacity(MAX_SERVERS);
        Self(buckets.time_to_idle(FORGET_AFTER).build())
    }

    /// Whether a server may send a request now; if not, how long it has to wait.
    fn check(&self, server_name: &ServerName, limit: RateLimit) -> Result<(), Duration> {
        match self.0.get(server_name) {
            Some(bucket) => bucket.lock().fill(limit, Instant::now()),
            None => Ok(()),
        }
    }

    /// Counts a request.
    fn take(&self, server_name: &ServerName, limit: RateLimit) -> Result<(), Duration> {
        let now = Instant::now();
        let bucket = self.0.get_with(server_name.to_owned(), || {
            Arc::new(Mutex::new(Bucket {
                tokens: f64::from(limit.burst),
                filled_at: now,
            }))
        });
        let mut bucket = bucket.lock();
        bucket.fill(limit, now)?;
        bucket.tokens -= 1.0;
        Ok(())
    }
}

impl Bucket {
    /// Adds what has come in since the last time; an error until there is enough for a request.
    fn fill(&mut self, limit: RateLimit, now: Instant) -> Result<(), Duration> {
        let elapsed = now.saturating_duration_since(self.filled_at);
        let tokens = self.tokens + elapsed.as_secs_f64() * limit.per_second;
        self.tokens = tokens.min(f64::from(limit.burst));
        self.filled_at = now;
        if self.tokens >= 1.0 {
            return Ok(());
        }
        let wait = (1.0 - self.tokens) / limit.per_second;
        Err(Duration::try_from_secs_f64(wait).unwrap_or(FORGET_AFTER))
    }
}

impl Federation {
    /// An error if a server has sent more requests than it may. Asked before the signature of a request
    /// is verified, and costs the server nothing: anybody may claim to be it.
    pub(crate) fn check_limit(&self, server_name: &ServerName) -> Result<()> {
        let limit = self.policy().rate_limit(server_name);
        limited(self.inner().limits.check(server_name, limit))
    }

    /// Counts a request that a server has signed.
    pub(crate) fn take_limit(&self, server_name: &ServerName) -> Result<()> {
        let limit = self.policy().rate_limit(server_name);
        limited(self.inner().limits.take(server_name, limit))
    }
}

fn limited(taken: Result<(), Duration>) -> Result<()> {
    taken.map_err(|retry_after| {
        metrics::count_limited_request();
        Error::LimitExceeded { retry_after }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit {
        per_second: 2.0,
        burst: 3,
    };

    #[tokio::test(start_paused = true)]
    async fn burst_is_allowed_and_then_the_steady_rate() {
        let limits = InboundLimits::new();
        let [server, other] = ["a.org", "b.org"].map(|name| ServerName::parse(name).unwrap());
        for _ in 0..3 {
            assert_eq!(limits.check(&server, LIMIT), Ok(()));
            assert_eq!(limits.take(&server, LIMIT), Ok(()));
        }
        let half = Duration::from_millis(500);
        assert_eq!(limits.check(&server, LIMIT), Err(half));
        assert_eq!(limits.take(&server, LIMIT), Err(half));
        assert_eq!(limits.take(&other, LIMIT), Ok(()));
        tokio::time::advance(half).await;
        assert_eq!(limits.take(&server, LIMIT), Ok(()));
        assert_eq!(limits.take(&server, LIMIT), Err(half));
        tokio::time::advance(Duration::from_mins(1)).await;
        for _ in 0..3 {
            assert_eq!(limits.take(&server, LIMIT), Ok(()));
        }
        assert!(limits.take(&server, LIMIT).is_err());
    }

    #[test]
    fn changed_limit_applies_to_what_is_left() {
        let now = Instant::now();
        let mut bucket = Bucket {
            tokens: 1_000.0,
            filled_at: now,
        };
        bucket.fill(LIMIT, now).unwrap();
        assert!(bucket.tokens <= 3.0);
    }
}
