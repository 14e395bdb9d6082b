//! One transaction: sent, and what comes of it.

use std::time::Duration;

use federation::Error as FederationError;
use serde_json::value::RawValue;
use storage::{
    Error,
    destinations::{ClaimedDestination, OutgoingTransaction},
};
use types::random;

use crate::{Delivery, metrics};

/// The most servers whose pauses a process knows.
pub(crate) const MAX_PAUSES: i64 = 10_000;
/// The length of the ids of transactions.
const ID_LENGTH: usize = 18;

/// What came of a transaction.
pub(crate) enum Answer {
    Arrived,
    /// Repeating it cannot help.
    Refused(FederationError),
    /// It is repeated after a while.
    Failed,
}

impl Delivery {
    /// Sends a transaction. Once it has arrived it is taken out of the queues; after a failure that may
    /// pass, the claim ends.
    pub(crate) async fn put(
        &self,
        destination: &ClaimedDestination,
        transaction: &OutgoingTransaction,
    ) -> Result<Answer, Error> {
        let server_name = &destination.server_name;
        let pdus = transaction.pdus.iter().map(|pdu| &pdu.json);
        let edus = transaction.edus.iter().map(|edu| &edu.json);
        let id = &transaction.transaction_id;
        let federation = &self.0.federation;
        let sent = federation.send_transaction(server_name, id, raw(pdus), raw(edus));
        match sent.await {
            Ok(results) => {
                let mut refused = 0;
                for (event_id, result) in results {
                    if let Err(error) = result {
                        refused += 1;
                        tracing::info!(server.name = %server_name, event.id = %event_id, error, "Another server refused an event");
                    }
                }
                metrics::transaction("sent");
                metrics::events("accepted", transaction.pdus.len().saturating_sub(refused));
                metrics::events("refused", refused);
                self.arrived(destination).await?;
                Ok(Answer::Arrived)
            }
            Err(error) if is_final(&error) => {
                metrics::transaction("refused");
                Ok(Answer::Refused(error))
            }
            Err(error) => {
                self.back_off(destination, &error).await?;
                Ok(Answer::Failed)
            }
        }
    }

    /// Takes the transaction under way out of the queues.
    pub(crate) async fn arrived(&self, destination: &ClaimedDestination) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        destination.arrived(&mut tx).await?;
        tx.commit().await
    }

    /// Ends the claim after a failure; the server is not tried for a while.
    pub(crate) async fn back_off(
        &self,
        destination: &ClaimedDestination,
        error: &FederationError,
    ) -> Result<(), Error> {
        metrics::transaction("failed");
        let settings = &self.0.settings;
        let pause = pause(
            destination.failures,
            settings.first_pause,
            settings.max_pause,
        );
        let mut tx = self.0.database.begin().await?;
        destination
            .failed(&mut tx, pause, &error.to_string())
            .await?;
        let left_out = destination.shorten(&mut tx, settings.max_waiting);
        metrics::events("left_out", left_out.await? as usize);
        tx.commit().await?;
        let mut pauses = self.0.pauses.lock();
        if pauses.servers.len() < MAX_PAUSES as usize {
            pauses.servers.insert(destination.server_name.clone());
        }
        Ok(())
    }
}

/// Whether repeating the transaction cannot help.
pub(crate) fn is_final(error: &FederationError) -> bool {
    matches!(
        error,
        FederationError::Remote {
            status: 400 | 413,
            ..
        }
    )
}

/// A pause that doubles with each failure, up to a longest one, and is shortened by up to a half: so
/// that servers that failed together are not tried together.
fn pause(failures: i32, first: Duration, longest: Duration) -> Duration {
    let doublings = u32::try_from(failures).unwrap_or_default().min(20);
    let pause = first.saturating_mul(2_u32.pow(doublings)).min(longest);
    let [random] = random::bytes::<1>().unwrap_or_default();
    pause.mul_f64(1.0 - f64::from(random) / 512.0)
}

fn raw<'t>(texts: impl Iterator<Item = &'t String>) -> Vec<Box<RawValue>> {
    // What is stored is JSON.
    texts
        .filter_map(|text| RawValue::from_string(text.clone()).ok())
        .collect()
}

/// A new id of a transaction.
pub(crate) fn new_id() -> Result<String, Error> {
    random::letters(ID_LENGTH).map_err(|error| Error::Corrupt(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(10));
        for (failures, full) in [(0, 1), (1, 2), (2, 4), (3, 8), (4, 10), (i32::MAX, 10)] {
            let full = Duration::from_secs(full);
            let pause = pause(failures, first, longest);
            assert!(pause <= full && pause >= full / 2, "{failures}: {pause:?}");
        }
    }
}
