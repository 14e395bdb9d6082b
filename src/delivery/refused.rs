//! Transactions that another server refuses as a whole, with 400 or 413: they are sent in parts, until it is
//! known what is refused. Only that is given up.

use federation::Error as FederationError;
use storage::{
    Error,
    destinations::{ClaimedDestination, OutgoingTransaction},
};

use crate::{
    Delivery, metrics,
    transaction::{Answer, is_final, new_id},
};

/// Sends a transaction that was refused in parts, in its order; `false` if sending has failed, and the claim
/// has ended.
///
/// A part is written down before it is sent, like any transaction: after a kill it is repeated under its id,
/// and what comes after it waits in the queues.
pub(crate) async fn send_parts(
    delivery: &Delivery,
    destination: &ClaimedDestination,
    refused: OutgoingTransaction,
    error: FederationError,
) -> Result<bool, Error> {
    let mut has_arrived = false;
    let mut waiting = Vec::new();
    let mut refused = Some((refused, error));
    while let Some((part, error)) = refused.take() {
        if part.len() > 1 {
            let [first, second] = part.split([new_id()?, new_id()?]);
            waiting.extend([second, first]);
        } else if has_arrived || accepts_anything(delivery, destination).await? {
            has_arrived = true;
            give_up(destination, &part, &error);
            delivery.arrived(destination).await?;
        } else {
            delivery.back_off(destination, &error).await?;
            return Ok(false);
        }
        while let Some(part) = waiting.pop() {
            write_down(delivery, destination, &part).await?;
            match delivery.put(destination, &part).await? {
                Answer::Arrived => has_arrived = true,
                Answer::Refused(error) => {
                    refused = Some((part, error));
                    break;
                }
                Answer::Failed => return Ok(false),
            }
        }
    }
    Ok(true)
}

async fn write_down(
    delivery: &Delivery,
    destination: &ClaimedDestination,
    part: &OutgoingTransaction,
) -> Result<(), Error> {
    let mut tx = delivery.0.database.begin().await?;
    let lease = delivery.0.settings.lease;
    destination.narrow(&mut tx, part, lease).await?;
    tx.commit().await
}

/// Whether the server accepts an empty transaction. One that does not refuses whatever it is sent, for
/// example because of a proxy before it, and nothing is given up.
async fn accepts_anything(
    delivery: &Delivery,
    destination: &ClaimedDestination,
) -> Result<bool, Error> {
    let federation = &delivery.0.federation;
    let (id, server_name) = (new_id()?, &destination.server_name);
    let sent = federation.send_transaction(server_name, &id, Vec::new(), Vec::new());
    match sent.await {
        Ok(_) => Ok(true),
        Err(error) => {
            if is_final(&error) {
                tracing::error!(server.name = %server_name, %error, "Another server refuses whatever it is sent");
            }
            Ok(false)
        }
    }
}

fn give_up(destination: &ClaimedDestination, part: &OutgoingTransaction, error: &FederationError) {
    let server_name = &destination.server_name;
    for pdu in &part.pdus {
        metrics::given_up("pdu");
        tracing::error!(server.name = %server_name, event.id = %pdu.event_id, %error, "Another server refuses an event, which it is not sent again");
    }
    for _ in &part.edus {
        metrics::given_up("edu");
        tracing::error!(server.name = %server_name, %error, "Another server refuses an EDU, which it is not sent again");
    }
}
