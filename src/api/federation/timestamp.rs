//! The event of a room next to a time, for the servers that are in it.
//!
//! Spec: server-server, "Retrieving events".

use federation::AtTime;
use ruma::api::federation::event::get_event_by_timestamp;

use crate::{App, Matrix, Result};

/// The event next to a time.
pub(crate) async fn event(
    app: App,
    call: Matrix<get_event_by_timestamp::v1::Request>,
) -> Result<get_event_by_timestamp::v1::Response> {
    let get_event_by_timestamp::v1::Request {
        room_id, ts, dir, ..
    } = call.request;
    let wanted = AtTime { ts, direction: dir };
    let (event_id, ts) = app
        .rooms
        .serve_event_at_time(call.caller.origin(), &room_id, wanted)
        .await?;
    Ok(get_event_by_timestamp::v1::Response::new(event_id, ts))
}
