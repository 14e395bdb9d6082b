//! Room members.

use room::MembersQuery;
use ruma::{
    api::client::membership::{get_member_events, joined_members},
    events::room::member::MembershipState,
};
use types::{ErrorKind, PageToken};

use super::reader;
use crate::{App, Error, Matrix, Result, json::RawJson};

/// Lists the member events of a room, now or at a point in its past.
pub(crate) async fn all(app: App, call: Matrix<get_member_events::v3::Request>) -> Result<RawJson> {
    let get_member_events::v3::Request {
        room_id,
        at,
        membership,
        not_membership,
        ..
    } = call.request;
    let query = MembersQuery {
        at: at.as_deref().map(str::parse::<PageToken>).transpose()?,
        membership: membership.map(supported).transpose()?,
        not_membership: not_membership.map(supported).transpose()?,
    };
    let reader = reader(&call.caller);
    Ok(app.rooms.members(&room_id, reader, &query).await?.into())
}

/// Lists the joined users of a room with their profiles.
pub(crate) async fn joined(app: App, call: Matrix<joined_members::v3::Request>) -> Result<RawJson> {
    Ok(app
        .rooms
        .joined_members(&call.request.room_id, call.caller.user_id())
        .await?
        .into())
}

fn supported(membership: MembershipState) -> Result<MembershipState> {
    match membership {
        MembershipState::_Custom(_) => Err(Error::new(
            ErrorKind::InvalidParam,
            "There is no such membership",
        )),
        membership => Ok(membership),
    }
}
