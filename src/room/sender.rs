//! Senders of events.

use ruma::{OwnedDeviceId, OwnedTransactionId, OwnedUserId, UserId};

/// The user in whose name a room is changed, with the device and the client transaction of the
/// request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device; none for application services that name none, and for the server itself.
    pub device_id: Option<OwnedDeviceId>,
    /// The client's transaction id. A message that is sent again with the same one, by the same
    /// user and device, is not added again.
    pub transaction: Option<OwnedTransactionId>,
}

impl Sender {
    /// A user without a device, as whom the server acts.
    pub fn user(user_id: &UserId) -> Self {
        Self {
            user_id: user_id.to_owned(),
            device_id: None,
            transaction: None,
        }
    }

    /// The sender in a transaction of the client.
    #[must_use]
    pub fn with_transaction(self, id: OwnedTransactionId) -> Self {
        Self {
            transaction: Some(id),
            ..self
        }
    }

    /// The transaction as it is stored with the event that it creates; `target` is what `/redact`
    /// was asked to redact.
    pub(crate) fn stored_transaction(
        &self,
        target: Option<&ruma::EventId>,
    ) -> Option<storage::Transaction> {
        self.transaction.as_ref().map(|id| storage::Transaction {
            device_id: self.device_id.clone(),
            target: target.map(ToOwned::to_owned),
            id: id.to_string(),
        })
    }
}
