//! `/.well-known/matrix/server`: the name that a host delegates to, and how long that is remembered.

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode, header};
use moka::{Expiry, future::Cache};
use net::WebClient;
use ruma::OwnedServerName;
use serde::Deserialize;
use types::Clock;

/// How long the answer may take, redirects included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer in bytes.
const MAX_BODY: usize = 64 * 1024;
/// How long an answer is kept that does not say, and the bounds of those that do.
const DEFAULT_TTL: Duration = Duration::from_hours(24);
const MIN_TTL: Duration = Duration::from_mins(5);
const MAX_TTL: Duration = Duration::from_hours(48);
/// How long a first failure is kept; each further one twice as long, up to the longest.
const FIRST_FAILURE_TTL: Duration = Duration::from_mins(1);
const MAX_FAILURE_TTL: Duration = Duration::from_hours(1);
/// How long failures are counted as repeated.
const FAILURES_TTL: Duration = Duration::from_hours(24);
/// The most hosts that are remembered.
const CAPACITY: u64 = 10_000;

/// The delegations of hosts, remembered.
#[derive(Debug)]
pub(super) struct WellKnown {
    web: WebClient,
    port: u16,
    clock: Clock,
    answers: Cache<String, Answer>,
    /// How often in a row a host has failed to answer.
    failures: Cache<String, u32>,
}

/// What a host has answered.
#[derive(Clone, Debug)]
struct Answer {
    delegated: Option<OwnedServerName>,
    ttl: Duration,
}

struct ByTtl;

impl Expiry<String, Answer> for ByTtl {
    fn expire_after_create(&self, _: &String, answer: &Answer, _: Instant) -> Option<Duration> {
        Some(answer.ttl)
    }
}

/// The server name in a body, if it is valid.
pub(crate) fn read(body: &[u8]) -> Option<OwnedServerName> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "m.server")]
        server: OwnedServerName,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    Some(body.server)
}

impl WellKnown {
    pub(super) fn new(web: WebClient, port: u16, clock: Clock) -> Self {
        Self {
            web,
            port,
            clock,
            answers: Cache::builder()
                .max_capacity(CAPACITY)
                .expire_after(ByTtl)
                .build(),
            failures: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(FAILURES_TTL)
                .build(),
        }
    }

    /// The name that a host delegates to; `None` if it does not, or gives no valid answer.
    pub(super) async fn delegation(&self, host: &str) -> Option<OwnedServerName> {
        let answer = self.answers.get_with(host.to_owned(), self.fetch(host));
        answer.await.delegated
    }

    async fn fetch(&self, host: &str) -> Answer {
        let authority = match self.port {
            super::HTTPS_PORT => host.to_owned(),
            port => format!("{host}:{port}"),
        };
        let url = format!("https://{authority}/.well-known/matrix/server");
        let response = self.web.get(&url, TIMEOUT, MAX_BODY).await;
        let response = response.inspect_err(|error| {
            tracing::debug!(%error, host, "A host could not be asked for its delegation");
        });
        if let Ok(response) = response
            && response.status() == StatusCode::OK
            && let Some(delegated) = read(response.body())
        {
            self.failures.invalidate(host).await;
            return Answer {
                delegated: Some(delegated),
                ttl: lifetime(response.headers(), self.clock.now_ms()),
            };
        }
        let failures = self.failures.get(host).await.unwrap_or_default();
        self.failures
            .insert(host.to_owned(), failures.saturating_add(1))
            .await;
        Answer {
            delegated: None,
            ttl: failure_lifetime(failures),
        }
    }
}

/// How long an answer with these headers is kept.
fn lifetime(headers: &HeaderMap, now_ms: u64) -> Duration {
    let cache_control = headers.get(header::CACHE_CONTROL);
    let directives = cache_control
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let stated = max_age(directives).or_else(|| expires_in(headers, now_ms));
    stated.unwrap_or(DEFAULT_TTL).clamp(MIN_TTL, MAX_TTL)
}

fn max_age(directives: &str) -> Option<Duration> {
    let mut max_age = None;
    for directive in directives.split(',') {
        let directive = directive.trim().to_ascii_lowercase();
        if directive == "no-store" || directive == "no-cache" {
            return Some(Duration::ZERO);
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            // One that is not a number counts as stale, as RFC 9111 advises.
            let seconds = seconds.trim_matches('"').parse().unwrap_or_default();
            max_age = Some(Duration::from_secs(seconds));
        }
    }
    max_age
}

fn expires_in(headers: &HeaderMap, now_ms: u64) -> Option<Duration> {
    let expires = headers.get(header::EXPIRES)?;
    let expires = expires
        .to_str()
        .ok()
        .and_then(|text| httpdate::parse_http_date(text).ok());
    let since_epoch = expires.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    // A date that cannot be read, such as `0`, lies in the past.
    let since_epoch = since_epoch.unwrap_or_default();
    Some(since_epoch.saturating_sub(Duration::from_millis(now_ms)))
}

/// How long a failure is kept after so many others in a row.
fn failure_lifetime(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures);
    FIRST_FAILURE_TTL
        .saturating_mul(factor)
        .min(MAX_FAILURE_TTL)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 784_111_777_000;

    fn kept(name: header::HeaderName, value: &'static str) -> Duration {
        let value = header::HeaderValue::from_static(value);
        lifetime(&HeaderMap::from_iter([(name, value)]), NOW)
    }

    #[test]
    fn answers_are_kept_as_long_as_they_say_within_bounds() {
        assert_eq!(lifetime(&HeaderMap::new(), NOW), DEFAULT_TTL);
        let cache_control = |value| kept(header::CACHE_CONTROL, value);
        assert_eq!(
            cache_control("public, max-age=3600"),
            Duration::from_hours(1)
        );
        assert_eq!(cache_control("Max-Age=600"), Duration::from_mins(10));
        assert_eq!(cache_control("max-age=9999999"), MAX_TTL);
        assert_eq!(cache_control("max-age=1"), MIN_TTL);
        assert_eq!(cache_control("max-age=much"), MIN_TTL);
        assert_eq!(cache_control("max-age=3600, no-store"), MIN_TTL);
        assert_eq!(cache_control("private"), DEFAULT_TTL);
    }

    #[test]
    fn expiry_dates_count_where_there_is_no_cache_control() {
        let expires = |value| kept(header::EXPIRES, value);
        // NOW is Sunday, 6 November 1994, 08:49:37.
        assert_eq!(
            expires("Sun, 06 Nov 1994 10:49:37 GMT"),
            Duration::from_hours(2)
        );
        assert_eq!(expires("Sun, 06 Nov 1994 01:00:00 GMT"), MIN_TTL);
        assert_eq!(expires("0"), MIN_TTL);
    }

    #[test]
    fn repeated_failures_are_kept_longer_and_longer() {
        assert_eq!(failure_lifetime(0), Duration::from_mins(1));
        assert_eq!(failure_lifetime(1), Duration::from_mins(2));
        assert_eq!(failure_lifetime(5), Duration::from_mins(32));
        assert_eq!(failure_lifetime(6), MAX_FAILURE_TTL);
        assert_eq!(failure_lifetime(u32::MAX), MAX_FAILURE_TTL);
    }
}
