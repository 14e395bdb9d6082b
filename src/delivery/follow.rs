//! Follows the stream and fills the queues.

use std::{collections::BTreeSet, time::Duration};

use ruma::{OwnedServerName, UserId};
use storage::{
    Change, ChangeKind, Error, Tx,
    deliveries::{self, NewEdu, QueuedPdu, SentEvent, SentReceipt},
    stream::StateDelta,
    to_device,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use types::{RoomNid, StreamPosition};
use worker::{Batch, Follower, Start};

use crate::{
    Delivery,
    acls::Acls,
    device_lists::{Candidates, Recipients},
    edus,
    room_servers::RoomServers,
};

/// How often a closed server looks whether it was opened.
const CLOSED: Duration = Duration::from_secs(5);

/// How many to-device messages are in memory at once.
const MAX_MESSAGES: i64 = 100;

/// What a part of the stream holds for other servers.
struct Sent {
    events: Vec<SentEvent>,
    receipts: Vec<SentReceipt>,
}

/// What goes to other servers.
struct Collected {
    pdus: Vec<QueuedPdu>,
    edus: Vec<NewEdu>,
    /// Whose devices may be news, and to which servers.
    device_lists: Vec<Recipients>,
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
        while self.0.federation.policy().is_closed() {
            sleep(CLOSED).await;
        }
        Follower::builder("delivery")
            .kinds(&[ChangeKind::State, ChangeKind::DeviceList])
            .from(Start::Now)
            .exclusive()
            .lease_time(self.0.settings.lease)
            .build(self.0.database.clone())
            .await
    }

    /// Puts what a part of the stream holds for other servers into their queues.
    async fn fill(
        &self,
        follower: &mut Follower,
        servers: &mut RoomServers,
        mut batch: Batch,
    ) -> Result<(), Error> {
        let changes = std::mem::take(&mut batch.changes);
        let Collected {
            pdus,
            mut edus,
            device_lists,
        } = self.collect(servers, &batch, changes).await?;
        let mut tx = self.0.database.begin().await?;
        edus.extend(self.publish_device_lists(&mut tx, &device_lists).await?);
        if !pdus.is_empty() {
            deliveries::queue_pdus(&mut tx, &pdus).await?;
        }
        if !edus.is_empty() {
            deliveries::queue_edus(&mut tx, &edus).await?;
        }
        let messages = self.queue_to_device(&mut tx, batch.until()).await?;
        follower.commit(tx, batch).await?;
        if !pdus.is_empty() || !edus.is_empty() || messages {
            self.0.wake.notify_one();
        }
        Ok(())
    }

    /// Moves messages for devices of other servers into the queues of those; `false` if there are
    /// none.
    async fn queue_to_device(&self, tx: &mut Tx, until: StreamPosition) -> Result<bool, Error> {
        let policy = self.0.federation.policy();
        let mut any = false;
        loop {
            let taken = to_device::take_outgoing(tx, until, MAX_MESSAGES).await?;
            if taken.is_empty() {
                return Ok(any);
            }
            any = true;
            let taken = taken.into_iter();
            let allowed = taken.filter(|messages| policy.allows(&messages.server_name));
            let edus: Vec<NewEdu> = allowed.map(edus::to_device).collect::<Result<_, _>>()?;
            if !edus.is_empty() {
                deliveries::queue_edus(tx, &edus).await?;
            }
        }
    }

    async fn collect(
        &self,
        servers: &mut RoomServers,
        batch: &Batch,
        changes: Vec<(StreamPosition, Change)>,
    ) -> Result<Collected, Error> {
        let (from, until) = (batch.from(), batch.until());
        let own_name = &self.0.settings.server_name;
        let (deltas, others) = deltas(changes);
        let is_local = |user_id: &UserId| user_id.server_name() == own_name;
        let mut candidates = Candidates::new(others.iter(), &deltas, is_local);
        let mut db = self.0.database.snapshot().await?;
        let sent = Sent {
            events: deliveries::sent_events(&mut db, own_name, from, until).await?,
            receipts: deliveries::sent_receipts(&mut db, own_name, from, until).await?,
        };
        let read_in: BTreeSet<RoomNid> = sent
            .receipts
            .iter()
            .map(|sent| sent.receipt.room_nid)
            .collect();
        let acls = if read_in.is_empty() {
            Acls::default()
        } else {
            let read_in: Vec<RoomNid> = read_in.into_iter().collect();
            Acls::of(&deliveries::rooms(&mut db, &read_in).await?)
        };
        let mut rooms = sent.rooms();
        rooms.extend(candidates.load_rooms(&mut db).await?);
        servers.load(&mut db, &rooms, from).await?;
        drop(db);
        let mut pdus = Vec::new();
        for (event, to) in servers.advance(&sent.events, &deltas, until) {
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
            let room_nid = sent.receipt.room_nid;
            let to = servers.servers(room_nid).into_iter();
            let to = to.filter(|server| acls.allow(room_nid, server));
            let receipt = |server_name| edus::receipt(server_name, sent);
            self.allowed(to).map(receipt).collect::<Vec<_>>()
        });
        let edus = receipts.collect();
        Ok(Collected {
            pdus,
            edus,
            device_lists: candidates.recipients(servers, |server| self.is_allowed(server)),
        })
    }

    /// The servers among these that this one talks to.
    fn allowed(
        &self,
        servers: impl Iterator<Item = OwnedServerName>,
    ) -> impl Iterator<Item = OwnedServerName> {
        servers.filter(|server| self.is_allowed(server))
    }

    /// Whether this server talks to another one.
    pub(crate) fn is_allowed(&self, server: &OwnedServerName) -> bool {
        let policy = self.0.federation.policy();
        *server != self.0.settings.server_name && policy.allows(server)
    }
}

/// The changes of the state of rooms, with their positions, and the others.
fn deltas(
    changes: Vec<(StreamPosition, Change)>,
) -> (Vec<(StreamPosition, StateDelta)>, Vec<Change>) {
    let (mut deltas, mut others) = (Vec::new(), Vec::new());
    for (position, change) in changes {
        match change {
            Change::State(delta) => deltas.push((position, delta)),
            change => others.push(change),
        }
    }
    (deltas, others)
}
