//! Sliding sync.
//!
//! Spec: MSC4186, at the path that the proposal names, and at the one that clients used before it was
//! accepted: there, a few names and the form of some parameters are different.

mod body;
mod request;

use std::time::Duration;

use ruma::presence::PresenceState;
use serde::Deserialize;
use sync::sliding_sync::Request;
use types::ErrorKind;

use self::body::{Parameters, Requester, StableBody, UnstableBody};
use super::presence;
use crate::{App, Error, Matrix, Result, json::RawJson};

/// The longest long poll.
const MAX_TIMEOUT: Duration = Duration::from_mins(5);

/// What the unstable path takes from the query, and the stable one from the body.
#[derive(Debug, Default, Deserialize)]
struct Query {
    pos: Option<String>,
    timeout: Option<u64>,
    set_presence: Option<PresenceState>,
}

/// Returns what is new in the rooms that lists and subscriptions select, in the form of the unstable path.
pub(crate) async fn unstable(app: App, call: Matrix<UnstableBody>) -> Result<RawJson> {
    let query: Query = serde_html_form::from_str(&call.query)
        .map_err(|error| Error::new(ErrorKind::InvalidParam, error.to_string()))?;
    let session = call.caller.session()?;
    let requester = Requester {
        user_id: &session.user_id,
        device_id: &session.device_id,
    };
    let request = call.request.into_request(requester, parameters(query)?);
    respond(&app, &request).await
}

/// Returns what is new in the rooms that lists and subscriptions select.
pub(crate) async fn stable(app: App, mut call: Matrix<StableBody>) -> Result<RawJson> {
    let query = call.request.take_query();
    let session = call.caller.session()?;
    let requester = Requester {
        user_id: &session.user_id,
        device_id: &session.device_id,
    };
    let request = call.request.into_request(requester, parameters(query)?);
    respond(&app, &request).await
}

async fn respond(app: &App, request: &Request) -> Result<RawJson> {
    let answer = app.sync.sliding(request).await?;
    Ok(RawJson(answer.into_bytes()))
}

fn parameters(query: Query) -> Result<Parameters> {
    let timeout = query.timeout.map(Duration::from_millis);
    Ok(Parameters {
        // Some clients send an empty position at first.
        pos: query.pos.filter(|pos| !pos.is_empty()),
        timeout: timeout.unwrap_or_default().min(MAX_TIMEOUT),
        set_presence: presence::state(&query.set_presence.unwrap_or_default())?,
    })
}
