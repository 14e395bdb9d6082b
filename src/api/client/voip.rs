//! Credentials for TURN servers.

use ruma::api::client::voip::get_turn_server_info;
use serde_json::json;

use crate::{App, Matrix, Result, json::RawJson};

/// Makes credentials for the caller. Without TURN servers the answer is an empty object, which clients know
/// from other servers; after an error they would ask again and again.
pub(crate) async fn turn_server(
    app: App,
    call: Matrix<get_turn_server_info::v3::Request>,
) -> Result<RawJson> {
    let credentials = app.identity.turn_credentials(call.caller.user_id());
    let body = credentials.map_or_else(
        || json!({}),
        |credentials| {
            json!({
                "username": credentials.username,
                "password": credentials.password,
                "uris": credentials.uris,
                "ttl": credentials.lifetime.as_secs(),
            })
        },
    );
    Ok(body.to_string().into())
}
