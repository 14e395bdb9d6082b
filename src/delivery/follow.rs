//! Follows the stream and fills the queues.

use std::{collections::BTreeSet, time::Duration};

use ruma::OwnedServerName;
use storage::{
    Change, ChangeKind, Error,
    deliveries::{self, NewEdu, QueuedPdu, SentEvent, SentReceipt},
    stream::StateDelta,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use types::{RoomNid, StreamPosition};
use worker::{Batch, Follower, Start};

use crate::{Delivery, edus, room_servers::RoomServers};

/// How often a closed server looks whether it was opened.
const CLOSED: Duration = Duration::from_secs(5);

/// What a part of the stream holds for other servers.
struct Sent {
    events: Vec<SentEvent>,
    receipts: Vec<SentReceipt>,
}

impl Sent {
    fn rooms(&self) -> BTreeSet<RoomNid> {
        let events = self.events.iter().map(|event| event.room_nid);
        let receipts = self.receipts.iter().map(|sent| sent.receipt.room_nid);
        events.chain(receipts).collect()
    }
}

impl Delivery {
    /// Fills the queues until it is told to stop; of several processes one does.
    pub async fn follow(&self, stopping: CancellationToken) -> Result<(), Error> {
        let Some(follower) = stopping.run_until_cancelled(self.follower()).await else {
            return Ok(());
        };
        let mut follower = follower?;
        let mut servers = RoomServers::default();
        while let Some(batch) = stopping.run_until_cancelled(follower.next()).await {
            self.fill(&mut follower, &mut servers, batch?).await?;
        }
        follower.release().await
    }

    /// The follower, once the server is open to others: before, there is nothing to do.
    async fn follower(&self) -> Result<Follower, Error> {
        while self.is_closed() {
            sleep(CLOSED).await;
        }
        Follower::builder("delivery")
            .kinds(&[ChangeKind::State])
            .from(Start::Now)
            .exclusive()
            .lease_time(self.0.settings.lease)
            .build(self.0.database.clone())
            .await
    }

    /// Whether this server talks to no other.
    pub(crate) fn is_closed(&self) -> bool {
        let allowlist = self.0.federation.policy().allowlist();
        allowlist.is_some_and(|patterns| patterns.is_empty())
    }

    /// Puts what a part of the stream holds for other servers into their queues.
    async fn fill(
        &self,
        follower: &mut Follower,
        servers: &mut RoomServers,
        mut batch: Batch,
    ) -> Result<(), Error> {
        let deltas = deltas(&mut batch);
        let (pdus, edus) = self.collect(servers, &batch, &deltas).await?;
        let mut tx = self.0.database.begin().await?;
        if !pdus.is_empty() {
            deliveries::queue_pdus(&mut tx, &pdus).await?;
        }
        if !edus.is_empty() {
            deliveries::queue_edus(&mut tx, &edus).await?;
        }
        follower.commit(tx, batch).await?;
        if !pdus.is_empty() || !edus.is_empty() {
            self.0.wake.notify_one();
        }
        Ok(())
    }

    async fn collect(
        &self,
        servers: &mut RoomServers,
        batch: &Batch,
        deltas: &[(StreamPosition, StateDelta)],
    ) -> Result<(Vec<QueuedPdu>, Vec<NewEdu>), Error> {
        let (from, until) = (batch.from(), batch.until());
        let own_name = &self.0.settings.server_name;
        let mut db = self.0.database.snapshot().await?;
        let sent = Sent {
            events: deliveries::sent_events(&mut db, own_name, from, until).await?,
            receipts: deliveries::sent_receipts(&mut db, own_name, from, until).await?,
        };
        servers.load(&mut db, &sent.rooms(), from).await?;
        drop(db);
        let mut pdus = Vec::new();
        for (event, to) in servers.advance(&sent.events, deltas, until) {
            let origin = event.sender.server_name();
            let to = to.into_iter().filter(|server| *server != *origin);
            pdus.extend(self.allowed(to).map(|server_name| QueuedPdu {
                server_name,
                position: event.position,
                room_nid: event.room_nid,
                event_nid: event.event_nid,
            }));
        }
        let receipts = sent.receipts.iter().flat_map(|sent| {
            let to = servers.servers(sent.receipt.room_nid).into_iter();
            let receipt = |server_name| edus::receipt(server_name, sent);
            self.allowed(to).map(receipt).collect::<Vec<_>>()
        });
        Ok((pdus, receipts.collect()))
    }

    /// The servers among these that this one talks to.
    fn allowed(
        &self,
        servers: impl Iterator<Item = OwnedServerName>,
    ) -> impl Iterator<Item = OwnedServerName> {
        let (own_name, policy) = (&self.0.settings.server_name, self.0.federation.policy());
        servers.filter(move |server| server != own_name && policy.allows(server))
    }
}

fn deltas(batch: &mut Batch) -> Vec<(StreamPosition, StateDelta)> {
    let changes = std::mem::take(&mut batch.changes).into_iter();
    let deltas = changes.filter_map(|(position, change)| match change {
        Change::State(delta) => Some((position, delta)),
        _ => None,
    });
    deltas.collect()
}
