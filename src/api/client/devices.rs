//! The caller's devices.

use identity::Device;
use ruma::{
    MilliSecondsSinceUnixEpoch, UInt,
    api::client::device::{
        self, delete_device, delete_devices, get_device, get_devices, update_device,
    },
};

use crate::{App, Matrix, Result, uia::UiaRequest};

/// Lists the caller's devices.
pub(crate) async fn list(
    app: App,
    call: Matrix<get_devices::v3::Request>,
) -> Result<get_devices::v3::Response> {
    let devices = app.identity.devices(call.caller.user_id()).await?;
    let devices = devices.into_iter().map(to_device).collect();
    Ok(get_devices::v3::Response::new(devices))
}

/// Returns one device of the caller.
pub(crate) async fn one(
    app: App,
    call: Matrix<get_device::v3::Request>,
) -> Result<get_device::v3::Response> {
    let device = app
        .identity
        .device(call.caller.user_id(), &call.request.device_id)
        .await?;
    Ok(get_device::v3::Response::new(to_device(device)))
}

/// Renames a device of the caller.
pub(crate) async fn rename(
    app: App,
    call: Matrix<update_device::v3::Request>,
) -> Result<update_device::v3::Response> {
    let name = call.request.display_name.as_deref();
    app.identity
        .rename_device(call.caller.user_id(), &call.request.device_id, name)
        .await?;
    Ok(update_device::v3::Response::new())
}

/// Deletes a device of the caller.
pub(crate) async fn delete(
    app: App,
    call: Matrix<UiaRequest<delete_device::v3::Request>>,
) -> Result<delete_device::v3::Response> {
    let (request, confirmed) = call.request.confirm(&app, &call.caller).await?;
    app.identity
        .delete_devices(call.caller.user_id(), &[request.device_id], confirmed)
        .await?;
    Ok(delete_device::v3::Response::new())
}

/// Deletes several devices of the caller.
pub(crate) async fn delete_many(
    app: App,
    call: Matrix<UiaRequest<delete_devices::v3::Request>>,
) -> Result<delete_devices::v3::Response> {
    let (request, confirmed) = call.request.confirm(&app, &call.caller).await?;
    app.identity
        .delete_devices(call.caller.user_id(), &request.devices, confirmed)
        .await?;
    Ok(delete_devices::v3::Response::new())
}

fn to_device(device: Device) -> device::Device {
    let mut response = device::Device::new(device.device_id);
    response.display_name = device.display_name;
    response.last_seen_ip = device.last_seen_ip;
    response.last_seen_ts = device
        .last_seen_ts
        .and_then(|ts| UInt::try_from(ts).ok())
        .map(MilliSecondsSinceUnixEpoch);
    response
}
