//! Write sets with one member event, which other servers have decided on.

use event::RoomVersion;
use ruma::RoomId;
use storage::{
    CommitError, StoredEvent,
    committer::WriteSet,
    events::Replaced,
    rooms::{self, HeadVersion, NewRoom, Parent, Placement, RoomHead, RoomWrite},
    snapshots::{self, NewState, StateNids, StoredState},
    stream::{StateChange, StateEvent},
};
use tokio::sync::MutexGuard;
use types::{EventNid, RoomNid, SnapshotNid};

use crate::{Error, Rooms, head::Head, heads::HeadEntry, outliers::RoomIdentity};

/// A member event with its place in the graph and its effect.
pub(super) struct NewMember {
    pub(super) event: StateEvent,
    pub(super) auth_nids: Vec<EventNid>,
    pub(super) parents: Vec<Parent>,
    /// The event of the same key in the state before it.
    pub(super) replaces: Option<StateEvent>,
    /// The state after it.
    pub(super) snapshot_nid: SnapshotNid,
    /// What it changes in the current state.
    pub(super) delta: Vec<StateChange>,
}

impl NewMember {
    /// The write that makes it the only end of the graph of a room, instead of what was known of it.
    pub(super) fn into_write(
        self,
        room_nid: RoomNid,
        expected: HeadVersion,
        create: Option<NewRoom>,
    ) -> RoomWrite {
        let next = RoomHead {
            version: HeadVersion {
                revision: expected.revision + 1,
                extremities: vec![self.event.nid],
            },
            depth: i64::try_from(self.event.pdu.depth()).unwrap_or(i64::MAX),
            snapshot_nid: self.snapshot_nid,
        };
        RoomWrite {
            room_nid,
            expected,
            next,
            events: vec![self.into_event(room_nid)],
            snapshots: Vec::new(),
            layers: None,
            create,
            recheck: None,
            partial: None,
        }
    }

    /// The event at the end of the timeline of a room.
    fn into_event(self, room_nid: RoomNid) -> rooms::NewEvent {
        rooms::NewEvent {
            event: StoredEvent {
                nid: self.event.nid,
                room_nid,
                position: None,
                history_order: None,
                pdu: self.event.pdu,
                snapshot_nid: Some(self.snapshot_nid),
                replaces: self.replaces.map(|event| Replaced {
                    nid: event.nid,
                    pdu: event.pdu,
                }),
                redacted_because: None,
                auth_nids: self.auth_nids,
                after_gap: rooms::is_gap(&self.parents),
                has_relations: false,
                transaction: None,
            },
            placement: Placement::Timeline,
            parents: self.parents,
            may_be_missed: false,
            redacts: None,
            awaits: None,
            original: None,
            delta: self.delta,
        }
    }
}

impl Rooms {
    /// A room of other servers with its row, which is made if it is not there.
    pub(super) async fn room_of_others(
        &self,
        room_id: &RoomId,
        version: &RoomVersion,
    ) -> Result<RoomIdentity, Error> {
        let nid = RoomNid(self.0.nids.allocate_one().await?);
        let mut db = self.0.database.acquire().await?;
        Ok(RoomIdentity {
            room_nid: rooms::insert_invited(&mut db, nid, room_id).await?,
            room_id: room_id.to_owned(),
            version: version.clone(),
        })
    }

    /// Stores a state of a room that differs little from another one, and returns its number.
    pub(super) async fn store_state(
        &self,
        room_nid: RoomNid,
        parent: &StoredState,
        state: &StateNids,
    ) -> Result<SnapshotNid, Error> {
        let has_parent = !parent.state.is_empty();
        let new = NewState {
            room_nid,
            nid: SnapshotNid(self.0.nids.allocate_one().await?),
            parent: has_parent.then_some(parent),
            state,
        };
        let mut db = self.0.database.acquire().await?;
        Ok(snapshots::store(&mut db, new).await?)
    }

    /// The stored state of a head.
    pub(super) async fn stored_state(&self, head: Option<&Head>) -> Result<StoredState, Error> {
        match head.and_then(|head| head.state.snapshot_nid()) {
            Some(snapshot) => self.stored_snapshot(snapshot).await,
            None => Ok(StoredState::default()),
        }
    }

    pub(super) async fn stored_snapshot(
        &self,
        snapshot: SnapshotNid,
    ) -> Result<StoredState, Error> {
        let mut db = self.0.database.acquire().await?;
        let mut stored = snapshots::read(&mut db, &[snapshot]).await?;
        let missing = || storage::Error::Corrupt(format!("there is no snapshot {snapshot:?}"));
        Ok(stored.remove(&snapshot).ok_or_else(missing)?)
    }

    /// Commits a write to a room that is locked in this process; `false` if another process wrote
    /// to the room first.
    pub(super) async fn commit_write(
        &self,
        entry: &std::sync::Arc<HeadEntry>,
        mut pending: MutexGuard<'_, Option<Head>>,
        write: RoomWrite,
    ) -> Result<bool, Error> {
        let revision = write.next.version.revision;
        let set = WriteSet {
            room: Some(write),
            ..WriteSet::default()
        };
        entry.discard_head(&mut pending);
        match self.0.committer.submit(set).await.durable().await {
            Ok(committed) => {
                self.settle(entry, revision, committed, Vec::new());
                drop(pending);
                // What a client asks for next is answered from memory.
                self.0.live.wait_until_applied(committed).await;
                Ok(true)
            }
            Err(CommitError::Conflict) => {
                drop(pending);
                let latest = self.0.database.latest_position().await?;
                self.0.live.wait_until_applied(latest).await;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The head of a room that is locked in this process; none if its graph is not known.
    pub(super) async fn known_head(
        &self,
        entry: &HeadEntry,
        room_id: &RoomId,
        pending: &mut Option<Head>,
    ) -> Result<Option<Head>, Error> {
        match self.current_head(entry, room_id, pending).await {
            Ok(head) => Ok(Some(head)),
            Err(Error::UnknownRoom) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
