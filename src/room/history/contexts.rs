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
pub(super) struct DecidingKeys {
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
    /// Looks up the states at events: two queries for all of them.
    pub(super) async fn look_up(
        self,
        db: &mut storage::Connection,
        visibility: &mut UserVisibility,
        found: &[StoredEvent],
    ) -> Result<(), storage::Error> {
        let mut wanted: Vec<_> = found
            .iter()
            .filter_map(|event| event.snapshot_nid)
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(());
        }
        let keys = [self.visibility, self.membership];
        let states = snapshots::read_keys_at(db, &wanted, &keys).await?;
        let nids = states.values().flat_map(|state| state.values().copied());
        let mut nids: Vec<EventNid> = nids.collect();
        nids.sort_unstable();
        nids.dedup();
        let events = events::state_events(db, &nids).await?;
        for event in found {
            let Some(snapshot) = event.snapshot_nid else {
                continue;
            };
            let nothing = StateNids::new();
            let after = states.get(&snapshot).unwrap_or(&nothing);
            let contexts = self.contexts(event, after, &events);
            visibility.set_contexts(event.nid, contexts);
        }
        Ok(())
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
