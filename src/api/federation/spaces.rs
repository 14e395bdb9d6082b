//! The rooms of spaces, for servers that may come into them.
//!
//! Spec: server-server, "Spaces".

use ruma::api::federation::space::get_hierarchy;

use crate::{App, Error, Matrix, Result, json::RawJson};

/// A space and the rooms in it.
pub(crate) async fn hierarchy(
    app: App,
    call: Matrix<get_hierarchy::v1::Request>,
) -> Result<RawJson> {
    let get_hierarchy::v1::Request {
        room_id,
        suggested_only,
        ..
    } = call.request;
    let origin = call.caller.origin();
    let served = app
        .rooms
        .serve_hierarchy(origin, &room_id, suggested_only)
        .await?;
    RawJson::of(&served).map_err(Error::serialization)
}
