//! What other servers see of events.

use std::{collections::HashMap, sync::Arc};

use event::{
    Pdu,
    visibility::{VisibilityContext, for_server, history_visibility, may_see},
};
use ruma::{ServerName, events::room::history_visibility::HistoryVisibility};
use storage::{StoredEvent, events, snapshots};
use types::{EventNid, StateKeyNid};

use super::is_of;
use crate::{Error, Rooms, head::Head};

const VISIBILITY: (&str, &str) = ("m.room.history_visibility", "");

impl Rooms {
    /// Events as a server sees them that has a user in the room.
    pub(super) async fn seen_by(
        &self,
        head: &Head,
        server: &ServerName,
        events: Vec<StoredEvent>,
    ) -> Result<Vec<Arc<Pdu>>, Error> {
        if self.is_shared_throughout(head).await? {
            return Ok(super::pdus(events));
        }
        let keys = self.deciding_keys(head, server).await?;
        let mut seen = Vec::with_capacity(events.len());
        for event in events {
            let Some(contexts) = self.contexts(&event, &keys).await? else {
                // An outlier has no state: only what the server sent itself is known to be its to see.
                let pdu = if event.pdu.sender().server_name() == server || event.pdu.is_state() {
                    event.pdu
                } else {
                    Arc::new(event::redact(&head.version, &event.pdu)?)
                };
                seen.push(pdu);
                continue;
            };
            let (before, after) = contexts;
            // A user of the server is in the room now, which is after every event.
            let shown = for_server(&head.version, &event.pdu, &before, &after, true)?;
            seen.push(Arc::new(shown.into_owned()));
        }
        Ok(seen)
    }

    /// The first of some events that a server may see as it is.
    pub(crate) async fn first_seen_by(
        &self,
        head: &Head,
        server: &ServerName,
        events: Vec<StoredEvent>,
    ) -> Result<Option<Arc<Pdu>>, Error> {
        if self.is_shared_throughout(head).await? {
            return Ok(super::pdus(events).into_iter().next());
        }
        let keys = self.deciding_keys(head, server).await?;
        for event in events {
            if let Some((before, after)) = self.contexts(&event, &keys).await?
                && may_see(&before, &after, true)
            {
                return Ok(Some(event.pdu));
            }
        }
        Ok(None)
    }

    /// Whether members have always been allowed to see what came before them.
    async fn is_shared_throughout(&self, head: &Head) -> Result<bool, Error> {
        let mut db = self.0.database.acquire().await?;
        let (event_type, state_key) = VISIBILITY;
        let set = events::state_history(&mut db, &[head.room_nid], event_type, state_key).await?;
        Ok(set.iter().all(|event| {
            let visibility = history_visibility(&event.pdu);
            !matches!(
                visibility,
                Some(HistoryVisibility::Invited | HistoryVisibility::Joined)
            )
        }))
    }

    /// The keys of the state that decide what a server sees.
    async fn deciding_keys(
        &self,
        head: &Head,
        server: &ServerName,
    ) -> Result<Vec<StateKeyNid>, Error> {
        let members = head.state.members().iter();
        let members = members.filter(|(user_id, _)| is_of(user_id, server));
        let texts = members.map(|(user_id, _)| ("m.room.member".to_owned(), user_id.to_string()));
        let (event_type, state_key) = VISIBILITY;
        let texts: Vec<_> = texts
            .chain([(event_type.to_owned(), state_key.to_owned())])
            .collect();
        Ok(self.0.state_keys.ids(texts).await?.into_values().collect())
    }

    /// What decides whether a server sees an event: before and after it. `None` of an outlier.
    async fn contexts(
        &self,
        event: &StoredEvent,
        keys: &[StateKeyNid],
    ) -> Result<Option<(VisibilityContext, VisibilityContext)>, Error> {
        let Some(snapshot) = event.snapshot_nid else {
            return Ok(None);
        };
        let after: Vec<EventNid> = {
            let mut db = self.0.database.acquire().await?;
            let found = snapshots::read_keys(&mut db, snapshot, keys).await?;
            found.into_values().collect()
        };
        let replaced = event.replaces.as_ref().map(|replaced| replaced.nid);
        let changes = after.contains(&event.nid);
        let before: Vec<EventNid> = if changes {
            let others = after.iter().copied().filter(|nid| *nid != event.nid);
            others.chain(replaced).collect()
        } else {
            after.clone()
        };
        let events = self
            .0
            .live
            .events(after.iter().copied().chain(before.iter().copied()))
            .await?;
        Ok(Some((context(&before, &events), context(&after, &events))))
    }
}

fn context(state: &[EventNid], events: &HashMap<EventNid, Arc<Pdu>>) -> VisibilityContext {
    let events = state.iter().filter_map(|nid| events.get(nid));
    let events: Vec<_> = events.collect();
    let (event_type, _) = VISIBILITY;
    let visibility = events.iter().find(|pdu| pdu.event_type() == event_type);
    let visibility = visibility.and_then(|pdu| history_visibility(pdu));
    VisibilityContext::of_memberships(
        visibility.unwrap_or(HistoryVisibility::Shared),
        events.iter().filter_map(|pdu| pdu.membership()),
    )
}
