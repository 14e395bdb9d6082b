//! The server-server API: keys and version, files, and what other servers may query.

pub(crate) mod devices;
mod edu;
pub(crate) mod events;
pub(crate) mod keys;
pub(crate) mod media;
pub(crate) mod membership;
pub(crate) mod public_rooms;
pub(crate) mod query;
pub(crate) mod send;
pub(crate) mod spaces;
pub(crate) mod third_party;
pub(crate) mod timestamp;

use serde_json::json;

use crate::json::RawJson;

/// The server's name and version.
pub(crate) async fn version() -> RawJson {
    let server = json!({ "name": "Chancery", "version": env!("CARGO_PKG_VERSION") });
    json!({ "server": server }).to_string().into()
}
