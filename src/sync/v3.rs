//! `/v3/sync`: the response.

use types::SyncToken;

use crate::{
    Error,
    context::SyncContext,
    response::Response,
    streams::{
        Stream, account_data::AccountData, device_lists::DeviceLists, key_counts::KeyCounts,
        rooms::Rooms, to_device::ToDevice,
    },
};

/// Builds the response: each stream writes its part.
pub(crate) async fn respond(context: &SyncContext<'_>) -> Result<Response, Error> {
    let next = SyncToken {
        stream: context.view.position,
        ephemeral: context.view.ephemeral,
        to_device: None,
    };
    let mut response = Response::new(next);
    AccountData.write(context, &mut response).await?;
    ToDevice.write(context, &mut response).await?;
    DeviceLists.write(context, &mut response).await?;
    KeyCounts.write(context, &mut response).await?;
    Rooms.write(context, &mut response).await?;
    Ok(response)
}
