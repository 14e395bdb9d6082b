//! Invitations that the invited user does not want.
//!
//! Spec: client-server, "Invite permission".

use ruma::{OwnedUserId, UserId};
use serde::Deserialize;

use crate::{App, Result};

/// Refuses an invitation that a user of this server blocks.
pub(crate) async fn check(app: &App, inviter: &UserId, invited: &UserId) -> Result<()> {
    if invited.server_name() == app.server_name {
        app.identity.check_invite(invited, inviter).await?;
    }
    Ok(())
}

/// The same for a state event, if it is an invitation.
pub(crate) async fn check_state(
    app: &App,
    inviter: &UserId,
    (event_type, state_key, content): (&str, &str, &str),
) -> Result<()> {
    #[derive(Deserialize)]
    struct Content {
        membership: String,
    }
    if event_type != "m.room.member" {
        return Ok(());
    }
    let content = serde_json::from_str::<Content>(content);
    let invites = content.is_ok_and(|content| content.membership == "invite");
    match OwnedUserId::try_from(state_key) {
        Ok(invited) if invites => check(app, inviter, &invited).await,
        _ => Ok(()),
    }
}
