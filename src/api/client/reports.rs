//! Reports of events, rooms and users to the administrators.

use ruma::api::client::{
    reporting::report_user,
    room::{report_content, report_room},
};

use crate::{App, Matrix, Result};

/// Reports an event.
pub(crate) async fn event(
    app: App,
    call: Matrix<report_content::v3::Request>,
) -> Result<report_content::v3::Response> {
    let report_content::v3::Request {
        room_id,
        event_id,
        reason,
        ..
    } = call.request;
    let reporter = call.caller.user_id();
    app.rooms
        .report_event(reporter, &room_id, &event_id, reason.as_deref())
        .await?;
    Ok(report_content::v3::Response::new())
}

/// Reports a room.
pub(crate) async fn room(
    app: App,
    call: Matrix<report_room::v3::Request>,
) -> Result<report_room::v3::Response> {
    let (reporter, reason) = (call.caller.user_id(), &*call.request.reason);
    app.rooms
        .report_room(reporter, &call.request.room_id, Some(reason))
        .await?;
    Ok(report_room::v3::Response::new())
}

/// Reports a user; whether one of another server exists is not known here.
pub(crate) async fn user(
    app: App,
    call: Matrix<report_user::v3::Request>,
) -> Result<report_user::v3::Response> {
    let (user_id, reason) = (&call.request.user_id, &*call.request.reason);
    if user_id.server_name() == app.server_name {
        app.identity.profile(user_id).await?;
    }
    let reporter = call.caller.user_id();
    app.rooms
        .report_user(reporter, user_id, Some(reason))
        .await?;
    Ok(report_user::v3::Response::new())
}
