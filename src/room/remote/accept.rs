//! Taking in a membership event that was drafted here a moment ago, and signed by another server since.

use std::{collections::HashSet, sync::Arc};

use event::{Pdu, Verdict};
use storage::{events, stream::StateEvent};
use types::{EventNid, SnapshotNid};

use crate::{Error, Rooms, append::received::Outcome, outliers::RoomIdentity};

/// An event that was added, and the state that it was added to.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) event: StateEvent,
    pub(super) auth_nids: Vec<EventNid>,
    /// The state after it.
    snapshot_nid: SnapshotNid,
    replaced: Option<EventNid>,
}

impl Rooms {
    /// Adds a verified state event whose parents are known. Adding it again is no error.
    pub(super) async fn accept(
        &self,
        room: &RoomIdentity,
        pdu: Arc<Pdu>,
    ) -> Result<Accepted, Error> {
        match self.add_allowed(room, pdu.clone()).await? {
            Outcome::Stored(Verdict::Accepted) => {}
            Outcome::Denied(Some(denied)) => return Err(denied.into()),
            Outcome::Denied(None) | Outcome::Stored(_) => {
                return Err(Error::Forbidden("The room's rules do not allow the event"));
            }
            Outcome::Unconnected => {
                return Err(Error::Invalid(
                    "The events before it are not known".to_owned(),
                ));
            }
            Outcome::Dropped(reason) => return Err(Error::Invalid(reason.to_owned())),
        }
        let accepted = self.accepted_before(room, &pdu).await?;
        accepted.ok_or(Error::UnknownEvent)
    }

    /// The state before an event that was added, without events that are not wanted.
    pub(super) async fn state_before(
        &self,
        accepted: &Accepted,
        omitted: &HashSet<EventNid>,
    ) -> Result<Vec<(EventNid, Arc<Pdu>)>, Error> {
        let state = self.stored_snapshot(accepted.snapshot_nid).await?.state;
        let nids = state.into_values().filter(|nid| *nid != accepted.event.nid);
        let nids = nids.chain(accepted.replaced);
        let wanted = nids.filter(|nid| !omitted.contains(nid));
        let events = self.0.live.events(wanted).await?;
        Ok(events.into_iter().collect())
    }

    /// An event that is in the history.
    async fn accepted_before(
        &self,
        room: &RoomIdentity,
        pdu: &Pdu,
    ) -> Result<Option<Accepted>, Error> {
        let mut db = self.0.database.acquire().await?;
        let found = events::find(&mut db, room.room_nid, pdu.event_id()).await?;
        let accepted = found.and_then(|event| {
            Some(Accepted {
                snapshot_nid: event.snapshot_nid?,
                replaced: event.replaces.map(|replaced| replaced.nid),
                auth_nids: event.auth_nids,
                event: StateEvent {
                    nid: event.nid,
                    pdu: event.pdu,
                },
            })
        });
        Ok(accepted)
    }
}
