//! Events of other servers that are known for the state or the auth chain only.
//!
//! Spec: server-server, "Checks performed on receipt of a PDU": the first four of them. What an
//! event does to the state of its room is not decided here.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use event::{
    Pdu, RoomVersion, Verdict,
    receive::{self, AuthEventsError},
};
use ruma::{EventId, OwnedEventId, OwnedRoomId};
use serde_json::value::RawValue;
use storage::{CommitError, StoredEvent, events, stream::StateEvent};
use types::{EventNid, RoomNid};

use crate::{Error, Rooms, head::Head};

/// How often events are stored that another task stores as well.
const MAX_ATTEMPTS: usize = 8;
/// The most events of one statement.
const CHUNK: usize = 5_000;

/// A room that events of other servers belong to. Its graph need not be known.
#[derive(Clone, Debug)]
pub(crate) struct RoomIdentity {
    pub(crate) room_nid: RoomNid,
    pub(crate) room_id: OwnedRoomId,
    pub(crate) version: RoomVersion,
}

impl RoomIdentity {
    /// The room with this head.
    pub(crate) fn of(head: &Head) -> Self {
        Self {
            room_nid: head.room_nid,
            room_id: head.state.room_id().clone(),
            version: head.version.clone(),
        }
    }

    /// The id of the create event, where the room's id says it (since room version 12).
    fn create_id(&self) -> Option<OwnedEventId> {
        if !self.version.room_id_is_create_hash() {
            return None;
        }
        EventId::parse(format!("${}", self.room_id.strip_sigil())).ok()
    }
}

/// Events of a room by their ids, with their numbers and verdicts.
pub(crate) type KnownEvents = HashMap<OwnedEventId, StateEvent>;

impl Rooms {
    /// Reads events of a room, and checks their form, signatures and hashes. Those that do not hold
    /// are left out; one whose content does not match its hash is redacted.
    pub(crate) async fn verify_events(
        &self,
        room: &RoomIdentity,
        events: Vec<Box<RawValue>>,
    ) -> Result<Vec<Arc<Pdu>>, Error> {
        let of_room = room.clone();
        let parsed = blocking(move || parse(&of_room, &events)).await?;
        let federation = &self.0.federation;
        let keys = federation.event_keys(&room.version, &parsed).await?;
        let version = room.version.clone();
        blocking(move || {
            let events = parsed.into_iter();
            let verified = events.filter_map(|event| {
                let event_id = event.event_id().clone();
                let verified = receive::verify(event, &version, &keys);
                verified.inspect_err(|error| {
                    tracing::debug!(event.id = %event_id, %error, "An event of another server is not valid");
                }).ok()
            });
            verified.map(Arc::new).collect()
        })
        .await
    }

    /// The same for one event that is read already.
    pub(crate) async fn verify_event(
        &self,
        room: &RoomIdentity,
        event: &Pdu,
    ) -> Result<Option<Arc<Pdu>>, Error> {
        let text = RawValue::from_string(event.json().to_owned());
        let text = text.map_err(|error| Error::BadContent(error.to_string()))?;
        let verified = self.verify_events(room, vec![text]).await?.pop();
        Ok(verified.filter(|verified| verified.event_id() == event.event_id()))
    }

    /// Stores verified events as outliers, as far as they are not known, and returns them with
    /// those that authorise them. An event is rejected if the events that authorise it do not allow
    /// it or are rejected; one that names events which are not known is left out.
    ///
    /// The room's row must be there. What is there already is not changed.
    #[tracing::instrument(name = "room.store_outliers", level = "debug", skip_all, fields(room.id = %room.room_id, events = events.len()))]
    pub(crate) async fn store_outliers(
        &self,
        room: &RoomIdentity,
        events: Vec<Arc<Pdu>>,
    ) -> Result<KnownEvents, Error> {
        let mut wanted: HashSet<OwnedEventId> = room.create_id().into_iter().collect();
        for event in &events {
            wanted.insert(event.event_id().clone());
            wanted.extend(event.auth_events().iter().cloned());
        }
        let wanted: Vec<OwnedEventId> = wanted.into_iter().collect();
        let ordered = blocking(move || in_auth_order(events)).await?;
        for _ in 0..MAX_ATTEMPTS {
            let known = self.known_events(room, &wanted).await?;
            let nids = self.0.nids.allocate(ordered.len()).await?;
            let (of_room, ordered) = (room.clone(), ordered.clone());
            let judged = blocking(move || judge(&of_room, &ordered, known, nids)).await?;
            if self.insert_outliers(&judged.new).await? {
                return Ok(judged.known);
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// Those of the events that are known, of this room.
    pub(crate) async fn known_events(
        &self,
        room: &RoomIdentity,
        event_ids: &[OwnedEventId],
    ) -> Result<KnownEvents, Error> {
        let mut known = KnownEvents::new();
        let mut db = self.0.database.acquire().await?;
        for ids in event_ids.chunks(CHUNK) {
            let found = events::by_ids(&mut db, ids).await?.into_iter();
            let found = found.filter(|event| event.room_nid == room.room_nid);
            known.extend(found.map(|event| {
                let StoredEvent { nid, pdu, .. } = event;
                (pdu.event_id().clone(), StateEvent { nid, pdu })
            }));
        }
        Ok(known)
    }

    /// Stores all of the events or none; `false` if one of them is there by now.
    async fn insert_outliers(&self, new: &[StoredEvent]) -> Result<bool, Error> {
        let mut tx = self.0.database.begin().await?;
        for chunk in new.chunks(CHUNK) {
            let inserted = events::insert_outliers(&mut tx, chunk).await?;
            if inserted != chunk.len() as u64 {
                return Ok(false);
            }
        }
        tx.commit().await?;
        Ok(true)
    }
}

/// Runs what takes long off the threads that serve requests.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| CommitError::Stopping.into())
}

fn parse(room: &RoomIdentity, events: &[Box<RawValue>]) -> Vec<Pdu> {
    let parsed = events
        .iter()
        .filter_map(|event| Pdu::parse(event.get(), &room.version).ok());
    parsed
        .filter(|event| *event.room_id() == room.room_id)
        .collect()
}

/// The events, each once and after those of them that authorise it. Events that authorise each
/// other are left out.
fn in_auth_order(events: Vec<Arc<Pdu>>) -> Vec<Arc<Pdu>> {
    let events: BTreeMap<OwnedEventId, Arc<Pdu>> = events
        .into_iter()
        .map(|event| (event.event_id().clone(), event))
        .collect();
    let mut waiting: HashMap<&EventId, usize> = HashMap::new();
    let mut authorises: HashMap<&EventId, Vec<&Arc<Pdu>>> = HashMap::new();
    for event in events.values() {
        let auth_events: HashSet<_> = event.auth_events().iter().collect();
        let auth_events = auth_events
            .into_iter()
            .filter(|id| events.contains_key(*id));
        for id in auth_events {
            *waiting.entry(event.event_id()).or_default() += 1;
            authorises.entry(id).or_default().push(event);
        }
    }
    let is_ready = |event: &&Arc<Pdu>| !waiting.contains_key(&**event.event_id());
    let mut ready: Vec<&Arc<Pdu>> = events.values().filter(is_ready).collect();
    let mut ordered = Vec::with_capacity(events.len());
    while let Some(event) = ready.pop() {
        ordered.push(event.clone());
        for next in authorises.remove(&**event.event_id()).unwrap_or_default() {
            if let Some(count) = waiting.get_mut(&**next.event_id()) {
                *count -= 1;
                if *count == 0 {
                    ready.push(next);
                }
            }
        }
    }
    // Since room version 12 no event names the create event.
    ordered.sort_by_key(|event| event.event_type() != "m.room.create");
    ordered
}

/// What the authorisation rules say of events.
struct Judged {
    /// Those that are to be stored.
    new: Vec<StoredEvent>,
    /// All of them, with those that were known before.
    known: KnownEvents,
}

fn judge(room: &RoomIdentity, events: &[Arc<Pdu>], known: KnownEvents, nids: Vec<i64>) -> Judged {
    let mut judged = Judged {
        new: Vec::new(),
        known,
    };
    let create_id = room.create_id();
    for (event, nid) in events.iter().zip(nids) {
        if judged.known.contains_key(event.event_id()) {
            continue;
        }
        let find = |id: &EventId| judged.known.get(id).map(|event| event.pdu.clone());
        let create = create_id.as_ref().and_then(|id| find(id));
        if create_id.is_some() && create.is_none() && event.event_type() != "m.room.create" {
            continue;
        }
        let verdict = match receive::check_auth_events(&room.version, event, create.as_ref(), &find)
        {
            Ok(()) => Verdict::Accepted,
            Err(AuthEventsError::Missing(_)) => continue,
            Err(AuthEventsError::Denied(denied)) => {
                tracing::debug!(event.id = %event.event_id(), %denied, "An event of another server is rejected");
                Verdict::Rejected
            }
        };
        let auth_events = event.auth_events().iter();
        let auth_events = auth_events.filter_map(|id| judged.known.get(id));
        let auth_nids = auth_events.map(|event| event.nid).collect();
        let pdu = Arc::new(Pdu::clone(event).with_verdict(verdict));
        let nid = EventNid(nid);
        (judged.new).push(outlier(room.room_nid, nid, pdu.clone(), auth_nids));
        (judged.known).insert(pdu.event_id().clone(), StateEvent { nid, pdu });
    }
    judged
}

fn outlier(
    room_nid: RoomNid,
    nid: EventNid,
    pdu: Arc<Pdu>,
    auth_nids: Vec<EventNid>,
) -> StoredEvent {
    StoredEvent {
        nid,
        room_nid,
        position: None,
        history_order: None,
        pdu,
        snapshot_nid: None,
        replaces: None,
        redacted_because: None,
        auth_nids,
        after_gap: false,
        has_relations: false,
        transaction: None,
    }
}

#[cfg(test)]
mod tests;
