//! Follows the stream and fills the queues.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use federation::Exchange;
use ruma::{OwnedEventId, OwnedServerName, UserId};
use storage::{
    Change, ChangeKind, Error, Tx,
    deliveries::{self, NewEdu, QueuedPdu},
    relayed_events,
    stream::{OutgoingToDevice, Receipt, StateDelta},
    to_device,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use types::{RoomNid, StreamPosition};
use worker::{Batch, Follower, Start};

use crate::{
    Delivery,
    device_lists::{Candidates, Recipients},
    edus,
    room_servers::{RoomServers, SentEvent},
};

/// How often a closed server looks whether it was opened.
const CLOSED: Duration = Duration::from_secs(5);

/// How many positions are read at once after an interruption: each may be messages of 256 KiB.
const READ_AT_ONCE: u16 = 100;

/// What is followed: all that may concern other servers.
const KINDS: [ChangeKind; 6] = [
    ChangeKind::Event,
    ChangeKind::State,
    ChangeKind::PartialState,
    ChangeKind::Receipt,
    ChangeKind::OutgoingToDevice,
    ChangeKind::DeviceList,
];

/// What a part of the stream holds that may concern other servers.
#[derive(Default)]
struct Changes {
    /// Events that users of this server have sent, or that it passes on.
    events: Vec<SentEvent>,
    deltas: Vec<(StreamPosition, StateDelta)>,
    /// The rooms of which parts of the state are not known, or all of it is, from somewhere here on.
    partial_states: BTreeSet<RoomNid>,
    /// Public receipts of this server's users, of each user and thread the one that is furthest ahead.
    receipts: Vec<Receipt>,
    outgoing: Vec<(StreamPosition, OutgoingToDevice)>,
    candidates: Candidates,
}

/// What goes to other servers.
struct Collected {
    pdus: Vec<QueuedPdu>,
    edus: Vec<NewEdu>,
    /// As they were committed: those that repeat a request are not to be sent.
    outgoing: Vec<(StreamPosition, OutgoingToDevice)>,
    /// Whose devices may be news, and to which servers.
    device_lists: Vec<Recipients>,
}

impl Changes {
    /// The rooms whose servers must be known.
    fn rooms(&self) -> BTreeSet<RoomNid> {
        let events = self.events.iter().map(|event| event.room_nid);
        let receipts = self.receipts.iter().map(|receipt| receipt.room_nid);
        events.chain(receipts).collect()
    }
}

impl Collected {
    fn is_empty(&self) -> bool {
        self.pdus.is_empty()
            && self.edus.is_empty()
            && self.outgoing.is_empty()
            && self.device_lists.is_empty()
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
            .kinds(&KINDS)
            .from(Start::Now)
            .read_at_once(READ_AT_ONCE)
            .exclusive()
            .lease_time(self.0.settings.lease)
            .build(self.0.database.clone())
            .await
    }

    /// Puts what a part of the stream holds for other servers into their queues. Without anything for
    /// them, and in rooms whose servers are known, it needs no statement.
    async fn fill(
        &self,
        follower: &mut Follower,
        servers: &mut RoomServers,
        mut batch: Batch,
    ) -> Result<(), Error> {
        let changes = std::mem::take(&mut batch.changes);
        let changes = self.sort(changes).await?;
        let collected = self.collect(servers, &batch, changes).await?;
        if collected.is_empty() {
            return follower.skip(batch).await;
        }
        let Collected {
            pdus,
            mut edus,
            outgoing,
            device_lists,
        } = collected;
        let mut tx = self.0.database.begin().await?;
        edus.extend(self.publish_device_lists(&mut tx, &device_lists).await?);
        edus.extend(self.take_outgoing(&mut tx, outgoing).await?);
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

    /// Takes messages for devices of other servers out of their table; returns what those are to be sent.
    async fn take_outgoing(
        &self,
        tx: &mut Tx,
        outgoing: Vec<(StreamPosition, OutgoingToDevice)>,
    ) -> Result<Vec<NewEdu>, Error> {
        if outgoing.is_empty() {
            return Ok(Vec::new());
        }
        let policy = self.0.federation.policy();
        let positions: Vec<StreamPosition> = outgoing.iter().map(|(at, _)| *at).collect();
        let taken = to_device::take_outgoing(tx, &positions).await?;
        let outgoing = outgoing.into_iter();
        let messages = outgoing
            .filter(|(at, messages)| taken.contains(at) && policy.allows(&messages.server_name));
        messages
            .map(|(_, messages)| edus::to_device(messages))
            .collect()
    }

    /// Sorts out what may concern other servers.
    async fn sort(&self, changes: Vec<(StreamPosition, Change)>) -> Result<Changes, Error> {
        let own_name = &self.0.settings.server_name;
        let is_local = |user_id: &UserId| user_id.server_name() == own_name;
        let relayed = self.relayed(&changes).await?;
        let mut sorted = Changes::default();
        let mut receipts: HashMap<_, Receipt> = HashMap::new();
        for (position, change) in changes {
            match change {
                Change::Event(change) => {
                    let event = change.event;
                    let is_sent =
                        is_local(event.pdu.sender()) || relayed.contains(event.pdu.event_id());
                    if event.is_accepted() && is_sent {
                        sorted.events.push(SentEvent::new(position, &event));
                    }
                }
                Change::State(delta) => {
                    sorted.candidates.add_joined(&delta, is_local);
                    sorted.deltas.push((position, delta));
                }
                Change::PartialState { room_nid, servers } => {
                    sorted.partial_states.insert(room_nid);
                    if servers.is_none() {
                        sorted.candidates.add_completed(room_nid);
                    }
                }
                Change::Receipt(receipt) => {
                    if receipt.receipt_type != "m.read" || !is_local(&receipt.user_id) {
                        continue;
                    }
                    let user_id = receipt.user_id.clone();
                    let key = (receipt.room_nid, user_id, receipt.thread_id.clone());
                    let last = receipts.get(&key);
                    if last.is_none_or(|last| last.event_order <= receipt.event_order) {
                        receipts.insert(key, receipt);
                    }
                }
                Change::OutgoingToDevice(messages) => sorted.outgoing.push((position, messages)),
                Change::DeviceList { user_id } if is_local(&user_id) => {
                    sorted.candidates.add(user_id);
                }
                _ => {}
            }
        }
        sorted.receipts = receipts.into_values().collect();
        Ok(sorted)
    }

    /// Which of the events this server passes on: memberships that it has accepted for other servers.
    async fn relayed(
        &self,
        changes: &[(StreamPosition, Change)],
    ) -> Result<HashSet<OwnedEventId>, Error> {
        let own_name = &self.0.settings.server_name;
        let of_others = changes.iter().filter_map(|(_, change)| match change {
            Change::Event(change) => Some(&change.event.pdu).filter(|pdu| {
                pdu.event_type() == "m.room.member" && pdu.sender().server_name() != own_name
            }),
            _ => None,
        });
        let of_others: Vec<OwnedEventId> = of_others.map(|pdu| pdu.event_id().clone()).collect();
        if of_others.is_empty() {
            return Ok(HashSet::new());
        }
        relayed_events::among(&mut *self.0.database.acquire().await?, &of_others).await
    }

    async fn collect(
        &self,
        servers: &mut RoomServers,
        batch: &Batch,
        mut changes: Changes,
    ) -> Result<Collected, Error> {
        for room_nid in &changes.partial_states {
            servers.remove(*room_nid);
        }
        let own_name = &self.0.settings.server_name;
        let mut rooms = changes.rooms();
        if !changes.candidates.is_empty() {
            let mut db = self.0.database.acquire().await?;
            rooms.extend(changes.candidates.load_rooms(&mut db, own_name).await?);
        }
        servers.load(&self.0.database, &rooms, batch.from()).await?;
        changes.candidates.note_known(servers);
        let mut pdus = Vec::new();
        for (event, to) in servers.advance(&changes.events, &changes.deltas, batch.until()) {
            let to = to.into_iter().filter(|server| *server != event.origin);
            pdus.extend(self.allowed(to).map(|server_name| QueuedPdu {
                server_name,
                position: event.position,
                room_nid: event.room_nid,
                event_nid: event.event_nid,
            }));
        }
        let mut edus = Vec::new();
        for receipt in &changes.receipts {
            let Some(room) = servers.room(receipt.room_nid) else {
                continue;
            };
            let to = room.servers_at(batch.until()).into_iter();
            let to = to
                .filter(|server| room.allows(server) && self.exchanges(Exchange::Receipts, server));
            let receipt = |server_name| edus::receipt(server_name, &room.room_id, receipt);
            edus.extend(to.map(receipt));
        }
        let is_allowed = |server: &OwnedServerName| self.is_allowed(server);
        Ok(Collected {
            pdus,
            edus,
            outgoing: changes.outgoing,
            device_lists: (changes.candidates).recipients(servers, batch.until(), is_allowed),
        })
    }

    /// The servers among these that this one talks to.
    fn allowed(
        &self,
        servers: impl Iterator<Item = OwnedServerName>,
    ) -> impl Iterator<Item = OwnedServerName> {
        servers.filter(|server| self.is_allowed(server))
    }

    /// Whether something is exchanged with another server.
    pub(crate) fn exchanges(&self, exchange: Exchange, server: &OwnedServerName) -> bool {
        let policy = self.0.federation.policy();
        *server != self.0.settings.server_name && policy.exchanges(exchange, server)
    }

    /// Whether this server talks to another one.
    pub(crate) fn is_allowed(&self, server: &OwnedServerName) -> bool {
        let policy = self.0.federation.policy();
        *server != self.0.settings.server_name && policy.allows(server)
    }
}
