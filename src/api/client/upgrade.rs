//! Room upgrades.

use room::UpgradeRoom;
use ruma::{RoomId, UserId, api::client::room::upgrade_room};

use super::sender;
use crate::{App, Matrix, Result};

/// Replaces a room by one of another version.
pub(crate) async fn upgrade(
    app: App,
    call: Matrix<upgrade_room::v3::Request>,
) -> Result<upgrade_room::v3::Response> {
    let upgrade_room::v3::Request {
        room_id,
        new_version,
        additional_creators,
        ..
    } = call.request;
    let sender = sender(&call.caller);
    let profile = app.profile(&sender.user_id).await?;
    let request = UpgradeRoom {
        room_id,
        version: new_version,
        additional_creators,
    };
    let replacement = app.rooms.upgrade(&sender, &profile, &request).await?;
    inherit_settings(&app, &replacement, &sender.user_id).await?;
    Ok(upgrade_room::v3::Response::new(replacement))
}

/// Gives a room that replaces another what the user has set for that one: push rules, tags, and
/// whether it is a direct chat.
pub(super) async fn inherit_settings(app: &App, room_id: &RoomId, user_id: &UserId) -> Result<()> {
    let Some(predecessor) = app.rooms.predecessor(room_id).await? else {
        return Ok(());
    };
    let identity = &app.identity;
    identity
        .copy_room_push_rules(user_id, &predecessor, room_id)
        .await?;
    identity.copy_tags(user_id, &predecessor, room_id).await?;
    identity
        .copy_direct_chat(user_id, &predecessor, room_id)
        .await?;
    Ok(())
}
