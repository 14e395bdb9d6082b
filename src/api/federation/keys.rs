//! Signing keys: this server's own, and those of others, for which it is a notary.
//!
//! Spec: server-server, "Retrieving server keys".

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use http::StatusCode;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedServerName,
    api::federation::discovery::{get_remote_server_keys, get_remote_server_keys_batch},
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    App, Error, Matrix, Result,
    json::{self, RawJson},
};

/// The server's signing keys, self-signed.
pub(crate) async fn own(State(app): State<App>) -> Result<Response> {
    let keys = app.federation.own_keys()?;
    Ok(json::json_response(StatusCode::OK, keys))
}

/// The keys of one server.
pub(crate) async fn of_server(
    app: App,
    call: Matrix<get_remote_server_keys::v2::Request>,
) -> Result<RawJson> {
    let request = call.request;
    let wanted = BTreeMap::from([(request.server_name, request.minimum_valid_until_ts)]);
    answer(&app, wanted).await
}

/// The keys of several servers.
pub(crate) async fn of_servers(
    app: App,
    call: Matrix<get_remote_server_keys_batch::v2::Request>,
) -> Result<RawJson> {
    let now = app.clock.now();
    let wanted = call.request.server_keys.into_iter();
    let wanted = wanted.map(|(server, keys)| {
        let until = keys.values().filter_map(|key| key.minimum_valid_until_ts);
        (server, until.max().unwrap_or(now))
    });
    answer(&app, wanted.collect()).await
}

async fn answer(
    app: &App,
    wanted: BTreeMap<OwnedServerName, MilliSecondsSinceUnixEpoch>,
) -> Result<RawJson> {
    #[derive(Serialize)]
    struct Answer {
        server_keys: Vec<Box<RawValue>>,
    }
    let server_keys = app.federation.notarised_keys(wanted).await;
    RawJson::of(&Answer { server_keys }).map_err(Error::serialization)
}
