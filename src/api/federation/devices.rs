//! Devices and keys of this server's users, for other servers.
//!
//! Spec: server-server, "Device Management", "End-to-End Encryption".

use ruma::{
    UInt,
    api::federation::{
        device::get_devices::{self, v1::UserDevice},
        keys::{claim_keys, get_keys},
    },
};

use crate::{App, Matrix, Result};

/// The devices of a user.
pub(crate) async fn list(
    app: App,
    call: Matrix<get_devices::v1::Request>,
) -> Result<get_devices::v1::Response> {
    let user_id = call.request.user_id;
    let list = app.keys.device_list(&user_id).await?;
    let stream_id = UInt::try_from(list.stream_id).unwrap_or(UInt::MAX);
    let devices = list.devices.into_iter().map(|(device_id, keys, name)| {
        let mut device = UserDevice::new(device_id, keys);
        device.device_display_name = name;
        device
    });
    let mut response = get_devices::v1::Response::new(user_id, stream_id);
    response.devices = devices.collect();
    response.master_key = list.master_key;
    response.self_signing_key = list.self_signing_key;
    Ok(response)
}

/// Keys of users.
pub(crate) async fn query_keys(
    app: App,
    call: Matrix<get_keys::v1::Request>,
) -> Result<get_keys::v1::Response> {
    let keys = app.keys.served_keys(call.request.device_keys).await?;
    let mut response = get_keys::v1::Response::new(keys.device_keys);
    response.master_keys = keys.master_keys;
    response.self_signing_keys = keys.self_signing_keys;
    Ok(response)
}

/// Gives out one-time keys.
pub(crate) async fn claim_keys(
    app: App,
    call: Matrix<claim_keys::v1::Request>,
) -> Result<claim_keys::v1::Response> {
    let claimed = app.keys.give_keys(call.request.one_time_keys).await?;
    Ok(claim_keys::v1::Response::new(claimed.one_time_keys))
}
