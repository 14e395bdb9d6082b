//! One request to a push gateway, and which gateways cannot be reached.

use std::time::Duration;

use bytes::Bytes;
use moka::sync::Cache;
use net::PostUrl;
use serde::Deserialize;
use serde_json::Value;
use storage::pushers::Pusher;
use tokio::time::Instant;

use crate::{Push, metrics};

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// The most gateways that are known not to be reached, and how long this is remembered.
const MAX_GATEWAYS: u64 = 10_000;
const REMEMBERED: Duration = Duration::from_hours(1);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The gateway has taken it.
    Accepted,
    /// The gateway does not know the push key any more.
    Rejected,
    /// The gateway was not reached, or has failed.
    Failed,
}

/// A gateway that could not be reached.
#[derive(Clone, Copy, Debug)]
struct Outage {
    failures: u32,
    until: Instant,
}

/// Gateways that could not be reached: they are left alone for a while, whichever pusher names them.
#[derive(Debug)]
pub(crate) struct Unreachable(Cache<String, Outage>);

impl Default for Unreachable {
    fn default() -> Self {
        let outages = Cache::builder()
            .max_capacity(MAX_GATEWAYS)
            .time_to_live(REMEMBERED);
        Self(outages.build())
    }
}

#[derive(Deserialize)]
struct Rejections {
    #[serde(default)]
    rejected: Vec<String>,
}

impl Push {
    /// Posts a notification to the gateway of a pusher.
    pub(crate) async fn post(&self, pusher: &Pusher, body: &Value, deadline: Instant) -> Answer {
        let answer = self.try_post(pusher, body, deadline).await;
        metrics::request(match answer {
            Answer::Accepted => "accepted",
            Answer::Rejected => "rejected",
            Answer::Failed => "failed",
        });
        answer
    }

    /// Whether the gateway of a pusher could not be reached a moment ago.
    pub(crate) fn is_unreachable(&self, pusher: &Pusher) -> bool {
        let url = PostUrl::parse(&pusher.settings.url);
        let outage = url.and_then(|url| self.0.unreachable.0.get(&url.origin()));
        outage.is_some_and(|outage| outage.until > Instant::now())
    }

    async fn try_post(&self, pusher: &Pusher, body: &Value, deadline: Instant) -> Answer {
        let now = Instant::now();
        let timeout = self.0.settings.timeout.min(deadline - now);
        let Some(url) = PostUrl::parse(&pusher.settings.url) else {
            return Answer::Failed;
        };
        let gateway = url.origin();
        let outage = self.0.unreachable.0.get(&gateway);
        if timeout.is_zero() || outage.is_some_and(|outage| outage.until > now) {
            return Answer::Failed;
        }
        let body = Bytes::from(body.to_string());
        let response = self.0.client.post(&url, body, timeout, MAX_ANSWER).await;
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                let failures = outage.map_or(1, |outage| outage.failures.saturating_add(1));
                let pause = self.0.settings.pause_after(failures);
                let until = Instant::now() + pause;
                let outage = Outage { failures, until };
                self.0.unreachable.0.insert(gateway, outage);
                tracing::info!(user.id = %pusher.user_id, %error, "A push gateway could not be reached");
                return Answer::Failed;
            }
        };
        if outage.is_some() {
            self.0.unreachable.0.invalidate(&gateway);
        }
        let status = response.status();
        if !status.is_success() {
            tracing::info!(user.id = %pusher.user_id, %status, "A push gateway has failed");
            return Answer::Failed;
        }
        match serde_json::from_slice::<Rejections>(response.body()) {
            Ok(answer) if answer.rejected.contains(&pusher.settings.push_key) => Answer::Rejected,
            Ok(_) => Answer::Accepted,
            Err(error) => {
                tracing::info!(user.id = %pusher.user_id, %error, "A push gateway has answered something else");
                Answer::Failed
            }
        }
    }
}
