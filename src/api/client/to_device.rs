//! To-device messages.

use ruma::api::client::to_device::send_event_to_device::v3::{Request, Response};

use crate::{App, Matrix, Result};

/// Queues messages for devices.
pub(crate) async fn send(app: App, call: Matrix<Request>) -> Result<Response> {
    let sender = (call.caller.user_id(), call.caller.device()?);
    let event_type = call.request.event_type.to_string();
    app.keys
        .send_to_device(
            sender,
            &call.request.txn_id,
            &event_type,
            call.request.messages,
        )
        .await?;
    Ok(Response::new())
}
