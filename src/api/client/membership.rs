//! Membership changes: join, knock, invite, leave, kick, ban, forget.

use room::{MembershipChange, Sender};
use ruma::{
    OwnedRoomId, OwnedServerName, RoomId, RoomOrAliasId,
    api::client::{
        knock::knock_room,
        membership::{
            ban_user, forget_room,
            invite_user::{self, v3::InvitationRecipient},
            join_room_by_id, join_room_by_id_or_alias, joined_rooms, kick_user, leave_room,
            unban_user,
        },
    },
};
use serde_json::{Map, Value};
use types::ErrorKind;

use super::{invites, sender, upgrade::inherit_settings};
use crate::{App, Error, Matrix, Result};

/// Joins a room by its id.
pub(crate) async fn join_by_id(
    app: App,
    call: Matrix<join_room_by_id::v3::Request>,
) -> Result<join_room_by_id::v3::Response> {
    let room_id = call.request.room_id;
    join(&app, (&room_id, &[]), &sender(&call.caller), &call.body).await?;
    Ok(join_room_by_id::v3::Response::new(room_id))
}

/// Joins a room by its id or alias.
pub(crate) async fn join_by_id_or_alias(
    app: App,
    call: Matrix<join_room_by_id_or_alias::v3::Request>,
) -> Result<join_room_by_id_or_alias::v3::Response> {
    let (room_id, via) =
        room_and_servers(&app, &call.request.room_id_or_alias, call.request.via).await?;
    join(&app, (&room_id, &via), &sender(&call.caller), &call.body).await?;
    Ok(join_room_by_id_or_alias::v3::Response::new(room_id))
}

/// Knocks on a room.
pub(crate) async fn knock(
    app: App,
    call: Matrix<knock_room::v3::Request>,
) -> Result<knock_room::v3::Response> {
    let sender = sender(&call.caller);
    let (room_id, via) =
        room_and_servers(&app, &call.request.room_id_or_alias, call.request.via).await?;
    let profile = app.profile(&sender.user_id).await?;
    app.rooms
        .knock_via(
            &room_id,
            &sender,
            profile,
            call.request.reason.as_deref(),
            &via,
        )
        .await?;
    Ok(knock_room::v3::Response::new(room_id))
}

/// Invites a user.
pub(crate) async fn invite(
    app: App,
    call: Matrix<invite_user::v3::Request>,
) -> Result<invite_user::v3::Response> {
    let InvitationRecipient::UserId(recipient) = call.request.recipient else {
        return Err(Error::new(
            ErrorKind::InvalidParam,
            "Only Matrix users can be invited here",
        ));
    };
    let (room_id, sender) = (&call.request.room_id, sender(&call.caller));
    invites::check(&app, &sender.user_id, &recipient.user_id).await?;
    let profile = app.profile(&recipient.user_id).await?;
    let change = MembershipChange::Invite {
        profile,
        is_direct: false,
    };
    let reason = recipient.reason.as_deref();
    app.rooms
        .change_membership(room_id, &sender, &recipient.user_id, change, reason)
        .await?;
    Ok(invite_user::v3::Response::new())
}

/// Leaves a room, rejects an invite or retracts a knock.
pub(crate) async fn leave(
    app: App,
    call: Matrix<leave_room::v3::Request>,
) -> Result<leave_room::v3::Response> {
    let reason = call.request.reason.as_deref();
    app.rooms
        .leave(&call.request.room_id, &sender(&call.caller), reason)
        .await?;
    Ok(leave_room::v3::Response::new())
}

/// Forgets a room that the user has left.
pub(crate) async fn forget(
    app: App,
    call: Matrix<forget_room::v3::Request>,
) -> Result<forget_room::v3::Response> {
    let user_id = call.caller.user_id();
    let room_nid = app.rooms.forget(&call.request.room_id, user_id).await?;
    app.live.forget(user_id, room_nid);
    Ok(forget_room::v3::Response::new())
}

/// Kicks a member.
pub(crate) async fn kick(
    app: App,
    call: Matrix<kick_user::v3::Request>,
) -> Result<kick_user::v3::Response> {
    let kick_user::v3::Request {
        room_id,
        user_id,
        reason,
        ..
    } = call.request;
    let (sender, kick) = (sender(&call.caller), MembershipChange::Kick);
    app.rooms
        .change_membership(&room_id, &sender, &user_id, kick, reason.as_deref())
        .await?;
    Ok(kick_user::v3::Response::new())
}

/// Bans a user.
pub(crate) async fn ban(
    app: App,
    call: Matrix<ban_user::v3::Request>,
) -> Result<ban_user::v3::Response> {
    let ban_user::v3::Request {
        room_id,
        user_id,
        reason,
        ..
    } = call.request;
    let (sender, ban) = (sender(&call.caller), MembershipChange::Ban);
    app.rooms
        .change_membership(&room_id, &sender, &user_id, ban, reason.as_deref())
        .await?;
    Ok(ban_user::v3::Response::new())
}

/// Unbans a user.
pub(crate) async fn unban(
    app: App,
    call: Matrix<unban_user::v3::Request>,
) -> Result<unban_user::v3::Response> {
    let unban_user::v3::Request {
        room_id,
        user_id,
        reason,
        ..
    } = call.request;
    let (sender, unban) = (sender(&call.caller), MembershipChange::Unban);
    app.rooms
        .change_membership(&room_id, &sender, &user_id, unban, reason.as_deref())
        .await?;
    Ok(unban_user::v3::Response::new())
}

/// Lists the rooms that the user has joined.
pub(crate) async fn joined_rooms(
    app: App,
    call: Matrix<joined_rooms::v3::Request>,
) -> Result<joined_rooms::v3::Response> {
    let rooms = app.rooms.joined_rooms(call.caller.user_id()).await?;
    Ok(joined_rooms::v3::Response::new(rooms))
}

/// Resolves a room id or alias; also returns the servers that may know the room.
pub(super) async fn room_and_servers(
    app: &App,
    id_or_alias: &RoomOrAliasId,
    mut via: Vec<OwnedServerName>,
) -> Result<(OwnedRoomId, Vec<OwnedServerName>)> {
    match <&RoomId>::try_from(id_or_alias) {
        Ok(room_id) => Ok((room_id.to_owned(), via)),
        Err(alias) if alias.server_name() != app.server_name => {
            let found = app.federation.query_directory(alias).await?;
            via.extend(found.servers);
            via.push(alias.server_name().to_owned());
            Ok((found.room_id, via))
        }
        Err(alias) => Ok((app.rooms.resolve_alias(alias).await?, via)),
    }
}

/// Joins with the body's fields as additional content.
async fn join(
    app: &App,
    (room_id, via): (&RoomId, &[OwnedServerName]),
    sender: &Sender,
    body: &[u8],
) -> Result<()> {
    let mut content: Map<String, Value> = match body {
        [] => Map::new(),
        body => serde_json::from_slice(body)
            .map_err(|error| Error::new(ErrorKind::BadJson, error.to_string()))?,
    };
    content.remove("third_party_signed");
    let profile = app.profile(&sender.user_id).await?;
    app.rooms
        .join_via(room_id, sender, profile, content, via)
        .await?;
    inherit_settings(app, room_id, &sender.user_id).await
}
