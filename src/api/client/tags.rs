//! Room tags.

use ruma::api::client::tag::{create_tag, delete_tag, get_tags};
use serde_json::{Map, Value, json};
use types::ErrorKind;

use crate::{App, Error, Matrix, Result, client::check_is_caller, json::RawJson};

/// Lists the caller's tags of a room.
pub(crate) async fn list(app: App, call: Matrix<get_tags::v3::Request>) -> Result<RawJson> {
    check_is_caller(&call.caller, &call.request.user_id)?;
    let tags = app
        .identity
        .tags(call.caller.user_id(), &call.request.room_id)
        .await?;
    Ok(json!({ "tags": tags }).to_string().into())
}

/// Tags a room.
pub(crate) async fn create(
    app: App,
    call: Matrix<create_tag::v3::Request>,
) -> Result<create_tag::v3::Response> {
    check_is_caller(&call.caller, &call.request.user_id)?;
    // Stored as it was sent: clients may add fields beside `order`.
    let info: Map<String, Value> = serde_json::from_slice(&call.body)
        .map_err(|_| Error::new(ErrorKind::BadJson, "The tag must be a JSON object"))?;
    let (user_id, room_id) = (&call.request.user_id, &call.request.room_id);
    app.identity
        .add_tag(user_id, room_id, call.request.tag, info)
        .await?;
    Ok(create_tag::v3::Response::new())
}

/// Removes a tag of a room.
pub(crate) async fn delete(
    app: App,
    call: Matrix<delete_tag::v3::Request>,
) -> Result<delete_tag::v3::Response> {
    check_is_caller(&call.caller, &call.request.user_id)?;
    let (user_id, room_id) = (&call.request.user_id, &call.request.room_id);
    app.identity
        .remove_tag(user_id, room_id, &call.request.tag)
        .await?;
    Ok(delete_tag::v3::Response::new())
}
