//! What the caller was notified of.

use ruma::{
    MilliSecondsSinceUnixEpoch, UInt,
    api::client::push::get_notifications::v3::{Notification, Request, Response},
    serde::Raw,
};
use serde_json::value::RawValue;
use sync::{NotificationQuery, NotifyingEvent};
use types::{ErrorKind, HistoryOrder};

use crate::{App, Error, Matrix, Result};

/// How many notifications a page has, unless the client says otherwise, and at the most.
const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

/// Lists the events that have notified the caller, newest first.
pub(crate) async fn list(app: App, call: Matrix<Request>) -> Result<Response> {
    let Request {
        from, limit, only, ..
    } = call.request;
    let only_highlights = match only.as_deref() {
        None => false,
        Some("highlight") => true,
        Some(_) => return Err(invalid("`only` can be `highlight` alone")),
    };
    let before = from.map(|from| parse(&from)).transpose()?;
    let limit = limit.map_or(DEFAULT_LIMIT, |limit| {
        usize::try_from(u64::from(limit)).unwrap_or(usize::MAX)
    });
    let query = NotificationQuery {
        user_id: call.caller.user_id(),
        device_id: call.caller.device_id(),
        before,
        limit: limit.clamp(1, MAX_LIMIT),
        only_highlights,
    };
    let page = Box::pin(app.sync.notifications(query)).await?;
    let notifications = page.notifications.into_iter().map(notification);
    let mut response = Response::new(notifications.collect::<Result<_>>()?);
    response.next_token = page.next.map(|next| format!("n{next}"));
    Ok(response)
}

fn notification(event: NotifyingEvent) -> Result<Notification> {
    let json = RawValue::from_string(event.json).map_err(Error::serialization)?;
    let ts = UInt::try_from(event.ts).unwrap_or(UInt::MAX);
    Ok(Notification::new(
        event.actions,
        Raw::from_json(json),
        event.read,
        event.room_id,
        MilliSecondsSinceUnixEpoch(ts),
    ))
}

/// Reads a token of an earlier page: `n12`.
fn parse(token: &str) -> Result<HistoryOrder> {
    let place = token.strip_prefix('n').and_then(|place| place.parse().ok());
    let place = place.map(HistoryOrder);
    place.ok_or_else(|| invalid("`from` is not a token of an earlier page"))
}

fn invalid(text: &str) -> Error {
    Error::new(ErrorKind::InvalidParam, text)
}
