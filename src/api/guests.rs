//! The endpoints that guests may call.

use http::Method;
use types::ErrorKind;

use crate::error::{Error, Result};

/// Spec: client-server, "Guest Access". Joining is missing: it depends on the room's guest access.
const ENDPOINTS: &[(Method, &str)] = &[
    (Method::GET, "/_matrix/client/v3/account/whoami"),
    (Method::GET, "/_matrix/client/v3/devices"),
    (Method::GET, "/_matrix/client/v3/devices/{device_id}"),
    (Method::PUT, "/_matrix/client/v3/devices/{device_id}"),
    (Method::GET, "/_matrix/client/v3/sync"),
    (
        Method::POST,
        "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync",
    ),
    (Method::POST, "/_matrix/client/v4/sync"),
    (Method::POST, "/_matrix/client/v3/keys/upload"),
    (Method::POST, "/_matrix/client/v3/keys/query"),
    (Method::POST, "/_matrix/client/v3/keys/claim"),
    (
        Method::PUT,
        "/_matrix/client/v3/sendToDevice/{event_type}/{txn_id}",
    ),
    (Method::GET, "/_matrix/client/v3/rooms/{room_id}/state"),
    (
        Method::GET,
        "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}",
    ),
    (
        Method::PUT,
        "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}",
    ),
    (
        Method::PUT,
        "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}",
    ),
    (
        Method::GET,
        "/_matrix/client/v3/rooms/{room_id}/context/{event_id}",
    ),
    (
        Method::GET,
        "/_matrix/client/v3/rooms/{room_id}/event/{event_id}",
    ),
    (Method::GET, "/_matrix/client/v3/rooms/{room_id}/messages"),
    (Method::GET, "/_matrix/client/v3/rooms/{room_id}/members"),
    (
        Method::GET,
        "/_matrix/client/v3/rooms/{room_id}/initialSync",
    ),
    (Method::POST, "/_matrix/client/v3/rooms/{room_id}/leave"),
    (
        Method::GET,
        "/_matrix/client/v1/media/download/{server_name}/{media_id}",
    ),
    (
        Method::GET,
        "/_matrix/client/v1/media/download/{server_name}/{media_id}/{filename}",
    ),
    (
        Method::GET,
        "/_matrix/client/v1/media/thumbnail/{server_name}/{media_id}",
    ),
];

/// Refuses guests at an endpoint with this method and these paths unless they may call it.
pub(crate) fn check<'a>(method: &Method, mut paths: impl Iterator<Item = &'a str>) -> Result<()> {
    let is_allowed = |path: &str| {
        ENDPOINTS
            .iter()
            .any(|endpoint| endpoint.0 == *method && endpoint.1 == path)
    };
    if paths.any(is_allowed) {
        Ok(())
    } else {
        Err(forbidden())
    }
}

/// The error for guests.
pub(crate) fn forbidden() -> Error {
    Error::new(
        ErrorKind::GuestAccessForbidden,
        "Guests cannot call this endpoint",
    )
}
