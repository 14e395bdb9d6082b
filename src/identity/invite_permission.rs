//! Whom users let invite them.

use event::invite_permission::{InviteDecision, InvitePermission};
use ruma::UserId;

use crate::{Error, Identity, Result};

impl Identity {
    /// Refuses an invitation of a user of this server who blocks it.
    ///
    /// Spec: client-server, "Invite permission".
    pub async fn check_invite(&self, invited: &UserId, inviter: &UserId) -> Result<()> {
        let types = [InvitePermission::DEFAULT_TYPE, InvitePermission::LISTS_TYPE];
        let settings = {
            let mut db = self.0.database.acquire().await?;
            storage::account_data::find_global(&mut db, invited, &types).await?
        };
        let mut permission = InvitePermission::default();
        for (event_type, content) in &settings {
            permission.set(event_type, content);
        }
        if permission.decide(inviter) == InviteDecision::Block {
            return Err(Error::InviteBlocked);
        }
        Ok(())
    }
}
