//! The public room directory for other servers.
//!
//! Spec: server-server, "Published Room Directory".

use room::DirectoryQuery;
use ruma::{
    api::federation::directory::{get_public_rooms, get_public_rooms_filtered},
    directory::Filter,
};
use types::ErrorKind;

use crate::{
    App, Error, Matrix, Result,
    client::public_rooms::{body, query},
    json::RawJson,
};

/// Lists public rooms.
pub(crate) async fn list(app: App, call: Matrix<get_public_rooms::v1::Request>) -> Result<RawJson> {
    let get_public_rooms::v1::Request { limit, since, .. } = call.request;
    page(&app, query((limit, since, Filter::default()))).await
}

/// Searches public rooms.
pub(crate) async fn search(
    app: App,
    call: Matrix<get_public_rooms_filtered::v1::Request>,
) -> Result<RawJson> {
    let get_public_rooms_filtered::v1::Request {
        limit,
        since,
        filter,
        ..
    } = call.request;
    page(&app, query((limit, since, filter))).await
}

async fn page(app: &App, query: DirectoryQuery) -> Result<RawJson> {
    if !app.federation.policy().shows_public_rooms() {
        return Err(Error::new(
            ErrorKind::Forbidden,
            "This server does not show its public rooms to other servers",
        ));
    }
    let query = DirectoryQuery {
        for_other_servers: true,
        ..query
    };
    Ok(body(app.rooms.directory(&query).await?).into())
}
