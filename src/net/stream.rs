//! Responses whose body is read while it arrives.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{Error, Response, response};

/// How slow a response may be.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The longest time until the headers have arrived.
    pub head: Duration,
    /// At least `bytes` of the body, or its end, must arrive within each period of this length.
    pub period: Duration,
    /// See `period`.
    pub bytes: u64,
}

/// A response whose body is read as it arrives, for as long as it arrives fast enough.
#[derive(Debug)]
pub struct StreamedResponse {
    response: reqwest::Response,
    pace: PaceCheck,
}

/// Waits for the parts of a body, unless they come too slowly.
#[derive(Debug)]
struct PaceCheck {
    pace: Pace,
    period_end: Instant,
    /// The bytes of the current period.
    received: u64,
}

impl StreamedResponse {
    /// Sends a request and waits for the headers of the response.
    pub(crate) async fn open(request: reqwest::RequestBuilder, pace: Pace) -> Result<Self, Error> {
        let sent = timeout(pace.head, request.send());
        let response = sent.await.map_err(|_| Error::Timeout)??;
        Ok(Self {
            response,
            pace: PaceCheck::new(pace),
        })
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The length of the whole body in bytes, if the server has said it.
    pub fn content_length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next part of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.pace.wait(self.response.chunk()).await
    }

    /// Reads the whole response within `limit`; fails as soon as its body exceeds `max_body` bytes.
    pub async fn read(self, limit: Duration, max_body: usize) -> Result<Response, Error> {
        let read = timeout(limit, response::read(self.response, max_body));
        read.await.map_err(|_| Error::Timeout)?
    }
}

impl PaceCheck {
    fn new(pace: Pace) -> Self {
        Self {
            pace,
            period_end: Instant::now() + pace.period,
            received: 0,
        }
    }

    async fn wait(
        &mut self,
        next: impl Future<Output = reqwest::Result<Option<Bytes>>>,
    ) -> Result<Option<Bytes>, Error> {
        let mut next = std::pin::pin!(next);
        let chunk = loop {
            if let Ok(chunk) = timeout_at(self.period_end, &mut next).await {
                break chunk?;
            }
            if self.received < self.pace.bytes {
                return Err(Error::Timeout);
            }
            self.received = 0;
            self.period_end = Instant::now() + self.pace.period;
        };
        self.received += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        head: Duration::from_secs(1),
        period: Duration::from_mins(1),
        bytes: 10,
    };

    async fn part(pause: Duration, length: usize) -> reqwest::Result<Option<Bytes>> {
        tokio::time::sleep(pause).await;
        Ok((length > 0).then(|| Bytes::from(vec![0; length])))
    }

    #[tokio::test(start_paused = true)]
    async fn slow_bodies_are_read_as_long_as_they_go_on() {
        let mut check = PaceCheck::new(PACE);
        for _ in 0..1000 {
            let part = check.wait(part(Duration::from_secs(29), 5)).await;
            assert!(part.unwrap().is_some());
        }
        assert_eq!(check.wait(part(Duration::ZERO, 0)).await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_stall_or_trickle_are_given_up() {
        let mut check = PaceCheck::new(PACE);
        let stalled = check.wait(std::future::pending()).await;
        assert!(matches!(stalled, Err(Error::Timeout)));

        let mut check = PaceCheck::new(PACE);
        let mut parts = 0;
        while check.wait(part(Duration::from_secs(10), 1)).await.is_ok() {
            parts += 1;
        }
        assert!((5..10).contains(&parts));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_after_a_fast_part_is_no_stall() {
        let mut check = PaceCheck::new(PACE);
        for _ in 0..3 {
            check.wait(part(Duration::ZERO, 1000)).await.unwrap();
            let part = check.wait(part(Duration::from_secs(59), 1000)).await;
            assert!(part.is_ok());
        }
    }
}
