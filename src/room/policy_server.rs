//! Policy servers: events of a room that uses one are sent, and shown, if it recommends them.
//!
//! Spec: server-server, "Policy Servers".

use std::{sync::Arc, time::Duration};

use event::{Pdu, RoomVersion, Verdict, policy::PolicyServer};
use futures::{StreamExt as _, stream};
use ruma::RoomId;
use storage::{CommitError, StoredEvent};
use tokio::time::{Instant, timeout_at};

use crate::{
    Error, Rooms,
    append::received::{IfDenied, Outcome, Received},
    head::Head,
    outliers::RoomIdentity,
    remote::joined,
    rooms::RequestedWrite,
};

/// How many events a policy server is asked about at once, and how long all of one write may take.
const PARALLEL: usize = 8;
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a write is tried whose events follow some that fail.
const MAX_ATTEMPTS: usize = 3;

/// The policy server that a room uses now.
pub(crate) fn policy_server(head: &Head) -> Option<PolicyServer> {
    let event = head.state.core().get("m.room.policy", "")?;
    PolicyServer::of(event, |server| {
        joined(head).any(|user_id| user_id.server_name() == server)
    })
}

impl Rooms {
    /// The event with the signature of the policy server, which is asked for it unless it is there.
    /// Fails if the server does not recommend the event.
    pub(crate) async fn recommended(
        &self,
        policy: &PolicyServer,
        version: &RoomVersion,
        event: &Arc<Pdu>,
    ) -> Result<Arc<Pdu>, Error> {
        if policy.check(event, version).is_ok() {
            return Ok(event.clone());
        }
        let server = policy.server_name();
        let asked = self.0.federation.policy_signature(server, event);
        let signature = asked.await.map_err(refused)?;
        let signed = policy.with_signature(event, &signature)?;
        if let Err(error) = policy.check(&signed, version) {
            tracing::info!(server.name = %server, event.id = %event.event_id(), %error, "The signature of a policy server does not hold");
            return Err(Error::Forbidden(
                "The signature of the room's policy server does not hold",
            ));
        }
        Ok(Arc::new(signed))
    }

    /// Received events with the signatures of the policy server, as far as it recommends them within
    /// a time; the others are marked.
    pub(crate) async fn with_recommendations(
        &self,
        policy: &PolicyServer,
        version: &RoomVersion,
        events: &[Received],
    ) -> Vec<Received> {
        let deadline = Instant::now() + PATIENCE;
        let events = events.iter().cloned();
        let asking = events.map(async |event| {
            let asked = self.with_recommendation(policy, version, event.clone());
            let asked = timeout_at(deadline, asked).await;
            asked.unwrap_or(Received {
                is_recommended: false,
                ..event
            })
        });
        stream::iter(asking).buffered(PARALLEL).collect().await
    }

    async fn with_recommendation(
        &self,
        policy: &PolicyServer,
        version: &RoomVersion,
        mut event: Received,
    ) -> Received {
        match self.recommended(policy, version, &event.pdu).await {
            Ok(pdu) => event.pdu = pdu,
            Err(error) => {
                tracing::info!(event.id = %event.pdu.event_id(), %error, "A policy server does not recommend an event");
                event.is_recommended = false;
            }
        }
        event
    }

    /// Adds the events of a write to a room that uses a policy server, once that has signed them;
    /// `None` if the room uses none or there is nothing to add. Meanwhile the room is not locked: the
    /// events may come to stand beside those that others have sent, like events of other servers.
    pub(crate) async fn write_if_recommended<T: Send>(
        &self,
        room_id: &RoomId,
        write: &mut RequestedWrite<'_, T>,
    ) -> Result<Option<T>, Error> {
        for _ in 0..MAX_ATTEMPTS {
            let head = self.head(room_id).await?;
            let Some(policy) = policy_server(&head) else {
                return Ok(None);
            };
            let written = Box::pin(self.write_with(&policy, &head, write));
            match written.await {
                Err(Error::Commit(CommitError::Conflict)) => {}
                written => return written,
            }
        }
        Err(CommitError::Conflict.into())
    }

    async fn write_with<T: Send>(
        &self,
        policy: &PolicyServer,
        head: &Head,
        write: &mut RequestedWrite<'_, T>,
    ) -> Result<Option<T>, Error> {
        let (result, appender) = self.build(head.clone(), write).await?;
        let mut events = Vec::new();
        let added: Vec<StoredEvent> = appender.into_events().collect();
        for StoredEvent {
            pdu, transaction, ..
        } in added
        {
            let pdu = self.recommended(policy, &head.version, &pdu).await?;
            events.push(Received {
                transaction,
                ..Received::of(pdu)
            });
        }
        if events.is_empty() {
            return Ok(None);
        }
        let room = RoomIdentity::of(head);
        for (_, outcome) in self.add_events(&room, &events, IfDenied::Refuse).await? {
            match outcome {
                Outcome::Stored(Verdict::Accepted) => {}
                Outcome::Denied(Some(denied)) => return Err(denied.into()),
                Outcome::Denied(None) | Outcome::Stored(_) => {
                    return Err(Error::Forbidden("The room's rules do not allow the event"));
                }
                // What it follows has not been written.
                Outcome::Unconnected | Outcome::Dropped(_) => {
                    return Err(CommitError::Conflict.into());
                }
            }
        }
        Ok(Some(result))
    }
}

/// What a policy server that refuses says is for the client.
fn refused(error: federation::Error) -> Error {
    match error {
        federation::Error::Remote { errcode, error, .. } if errcode == "M_FORBIDDEN" => {
            Error::NotRecommended(error)
        }
        error => error.into(),
    }
}
