//! `/sync`.

use std::{sync::Arc, time::Duration};

use ruma::api::client::sync::sync_events::v3::{Filter, Request};

use super::presence;
use crate::{App, Matrix, Result, json::RawJson};

/// The longest long poll.
const MAX_TIMEOUT: Duration = Duration::from_mins(5);

/// Returns what changed since the token.
pub(crate) async fn sync(app: App, call: Matrix<Request>) -> Result<RawJson> {
    let Request {
        filter,
        since,
        full_state,
        set_presence,
        timeout,
        use_state_after,
        ..
    } = call.request;
    let session = call.caller.session()?;
    let user_id = session.user_id.clone();
    let filter = match filter {
        None => Arc::default(),
        Some(Filter::FilterDefinition(filter)) => Arc::new(filter),
        Some(Filter::FilterId(filter_id)) => {
            Box::pin(app.sync.filter(&user_id, &filter_id)).await?
        }
        Some(_) => return Err(sync::Error::UnknownFilter.into()),
    };
    // Some clients send an empty token at first.
    let since = since.filter(|since| !since.is_empty());
    let request = sync::Request {
        user_id,
        device_id: session.device_id.clone(),
        since: since
            .map(|since| since.parse())
            .transpose()
            .map_err(sync::Error::from)?,
        filter,
        full_state,
        use_state_after,
        set_presence: presence::state(&set_presence)?,
        timeout: timeout.unwrap_or_default().min(MAX_TIMEOUT),
    };
    let answer = app.sync.v3(&request).await?;
    Ok(RawJson(answer.into_bytes()))
}
