//! What the states at events say of whether a user sees them.
//!
//! Spec: client-server, "Room history visibility". In a room that only this server writes to, the
//! order of the history tells it. Elsewhere the history has branches and gaps, and the states are
//! looked up.

use std::collections::HashMap;

use event::visibility::{VisibilityContext, history_visibility};
use live::UserVisibility;
use ruma::{
    UserId,
    events::room::{history_visibility::HistoryVisibility, member::MembershipState},
};
use storage::{StoredEvent, events, snapshots, snapshots::StateNids, stream::StateEvent};
use types::{EventNid, StateKeyNid};

use crate::{Error, Rooms, head::Head};

/// The keys of the state that decide what a user sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DecidingKeys {
    visibility: StateKeyNid,
    membership: StateKeyNid,
}

impl Rooms {
    /// What is to be looked up for a user in a room, if anything is.
    pub(super) async fn deciding_keys_for(
        &self,
        head: &Head,
        user_id: &UserId,
    ) -> Result<Option<DecidingKeys>, Error> {
        if !self.has_remote_members(head) {
            return Ok(None);
        }
        self.deciding_keys_of(user_id).await
    }

    /// What is to be looked up for a user in any room; nothing if no room has such state.
    pub(crate) async fn deciding_keys_of(
        &self,
        user_id: &UserId,
    ) -> Result<Option<DecidingKeys>, Error> {
        let visibility = ("m.room.history_visibility".to_owned(), String::new());
        let membership = ("m.room.member".to_owned(), user_id.to_string());
        let wanted = [visibility.clone(), membership.clone()];
        let keys = self.0.state_keys.ids(wanted).await?;
        let keys = keys.get(&visibility).zip(keys.get(&membership));
        Ok(keys.map(|(visibility, membership)| DecidingKeys {
            visibility: *visibility,
            membership: *membership,
        }))
    }
}

impl DecidingKeys {
    /// Looks up the states at events of a room: two queries for all of them.
    pub(super) async fn look_up(
        self,
        db: &mut storage::Connection,
        visibility: &mut UserVisibility,
        found: &[StoredEvent],
    ) -> Result<(), storage::Error> {
        for (event, contexts) in self.contexts_of(db, found).await? {
            visibility.set_contexts(event, contexts);
        }
        Ok(())
    }

    /// What the states before and after events say, of any rooms: two queries for all of them.
    pub(crate) async fn contexts_of(
        self,
        db: &mut storage::Connection,
        found: &[StoredEvent],
    ) -> Result<Vec<(EventNid, [VisibilityContext; 2])>, storage::Error> {
        let mut wanted: Vec<_> = found
            .iter()
            .filter_map(|event| event.snapshot_nid)
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let keys = [self.visibility, self.membership];
        let states = snapshots::read_keys_at(db, &wanted, &keys).await?;
        let nids = states.values().flat_map(|state| state.values().copied());
        let mut nids: Vec<EventNid> = nids.collect();
        nids.sort_unstable();
        nids.dedup();
        let events = events::state_events(db, &nids).await?;
        let nothing = StateNids::new();
        let contexts = found.iter().filter_map(|event| {
            let after = states.get(&event.snapshot_nid?).unwrap_or(&nothing);
            Some((event.nid, self.contexts(event, after, &events)))
        });
        Ok(contexts.collect())
    }

    /// What the states before and after an event say.
    fn contexts(
        self,
        event: &StoredEvent,
        after: &StateNids,
        events: &HashMap<EventNid, StateEvent>,
    ) -> [VisibilityContext; 2] {
        let pdu = |key: StateKeyNid| Some(&*events.get(after.get(&key)?)?.pdu);
        let changed = |key: StateKeyNid| after.get(&key) == Some(&event.nid);
        let replaced = event.replaces.as_ref().map(|replaced| &*replaced.pdu);
        let before = |key| if changed(key) { replaced } else { pdu(key) };
        let context = |visibility: Option<&event::Pdu>, member: Option<&event::Pdu>| {
            let visibility = visibility.and_then(history_visibility);
            let membership = member.and_then(event::Pdu::membership);
            VisibilityContext {
                visibility: visibility.unwrap_or(HistoryVisibility::Shared),
                membership: membership.unwrap_or(MembershipState::Leave),
            }
        };
        [
            context(before(self.visibility), before(self.membership)),
            context(pdu(self.visibility), pdu(self.membership)),
        ]
    }
}
