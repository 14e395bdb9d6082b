//! `/capabilities`: what this server lets a client do.

use std::collections::BTreeMap;

use ruma::{
    RoomVersionId,
    api::client::discovery::get_capabilities::v3::{
        Capabilities, GetLoginTokenCapability, Request, Response, RoomVersionStability,
        RoomVersionsCapability, ThirdPartyIdChangesCapability,
    },
};

use crate::{App, Matrix, Result};

/// The room versions that can be created and joined.
const ROOM_VERSIONS: [RoomVersionId; 10] = [
    RoomVersionId::V3,
    RoomVersionId::V4,
    RoomVersionId::V5,
    RoomVersionId::V6,
    RoomVersionId::V7,
    RoomVersionId::V8,
    RoomVersionId::V9,
    RoomVersionId::V10,
    RoomVersionId::V11,
    RoomVersionId::V12,
];

/// Tells the server's capabilities.
pub(crate) async fn capabilities(_app: App, _call: Matrix<Request>) -> Result<Response> {
    let mut capabilities = Capabilities::new();
    let available: BTreeMap<_, _> = ROOM_VERSIONS
        .into_iter()
        .map(|version| (version, RoomVersionStability::Stable))
        .collect();
    capabilities.room_versions = RoomVersionsCapability::new(RoomVersionId::V12, available);
    capabilities.thirdparty_id_changes = ThirdPartyIdChangesCapability::new(false);
    capabilities.get_login_token = GetLoginTokenCapability::new(false);
    Ok(Response::new(capabilities))
}
