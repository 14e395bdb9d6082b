//! Invitations by addresses that an identity server has bound to users.
//!
//! Spec: server-server, "Third-party invites".

use room::ThirdPartyInvite;
use ruma::api::federation::thirdparty::{bind_callback, exchange_invite};
use serde::Deserialize;
use serde_json::value::RawValue;
use types::ErrorKind;

use crate::{App, Error, Matrix, Result};

/// The most invitations of one address that are claimed together.
const MAX_INVITES: usize = 20;

/// Claims the invitations of an address that a user of this server has now. Fails if one of them
/// fails; the others are claimed all the same.
pub(crate) async fn on_bind(
    app: App,
    call: Matrix<bind_callback::v1::Request>,
) -> Result<bind_callback::v1::Response> {
    let request = &call.request;
    if request.invites.len() > MAX_INVITES {
        let text = format!("There are more than {MAX_INVITES} invitations");
        return Err(Error::new(ErrorKind::InvalidParam, text));
    }
    // Fails if there is no such user.
    app.identity.profile(&request.mxid).await?;
    let mut claimed = Ok(());
    for invite in &request.invites {
        let result = app.rooms.claim_third_party_invite(ThirdPartyInvite {
            room_id: &invite.room_id,
            sender: &invite.sender,
            user_id: &request.mxid,
            signed: invite.signed.json(),
        });
        let result = result.await;
        claimed = claimed.and(result);
    }
    claimed?;
    Ok(bind_callback::v1::Response::new())
}

/// Invites a user of another server to a room of which a user of this server has invited that
/// user's address.
pub(crate) async fn exchange(
    app: App,
    call: Matrix<exchange_invite::v1::Request>,
) -> Result<exchange_invite::v1::Response> {
    #[derive(Deserialize)]
    struct Content {
        third_party_invite: Invite,
    }
    #[derive(Deserialize)]
    struct Invite {
        signed: Box<RawValue>,
    }
    let request = &call.request;
    let content = request.content.deserialize_as_unchecked::<Content>();
    let content = content.map_err(|error| {
        let text = format!("`content` is not that of an invitation by an address: {error}");
        Error::new(ErrorKind::BadJson, text)
    })?;
    let invite = ThirdPartyInvite {
        room_id: &request.room_id,
        sender: &request.sender,
        user_id: &request.state_key,
        signed: &content.third_party_invite.signed,
    };
    let origin = call.caller.origin();
    app.rooms
        .exchange_third_party_invite(origin, invite)
        .await?;
    Ok(exchange_invite::v1::Response::new())
}
