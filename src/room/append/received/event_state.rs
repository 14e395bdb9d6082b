//! The events of states, as far as rules ask for them.

use std::{collections::HashMap, sync::Arc};

use event::{Pdu, State, auth};
use storage::state_keys::StateKeyText;
use types::{EventNid, StateKeyNid};

use super::{Graph, states::StateAt};
use crate::Error;

impl Graph<'_> {
    /// The key of a state event.
    pub(super) async fn key_of(&self, pdu: &Pdu) -> Result<Option<StateKeyNid>, Error> {
        let Some(state_key) = pdu.state_key() else {
            return Ok(None);
        };
        let text = (pdu.event_type().to_owned(), state_key.to_owned());
        let keys = self.state_keys().ids([text]).await?;
        Ok(keys.into_values().next())
    }

    /// The two states as far as the rules ask for them when they judge an event; `None` if they
    /// deny it whatever the state.
    pub(super) async fn rules_states(
        &mut self,
        pdu: &Pdu,
        states: &[StateAt; 2],
    ) -> Result<Option<[State; 2]>, Error> {
        let Some(texts) = self.auth_texts(pdu) else {
            return Ok(None);
        };
        let [before, current] = states;
        let before_state = self.texts_in(before, &texts).await?;
        if before.is_stored_as(current) {
            return Ok(Some([before_state.clone(), before_state]));
        }
        let current_state = self.texts_in(current, &texts).await?;
        Ok(Some([before_state, current_state]))
    }

    /// The types and state keys that the rules ask for when they judge an event.
    pub(super) fn auth_texts(&self, pdu: &Pdu) -> Option<Vec<StateKeyText>> {
        let types = auth::auth_types(
            &self.head.version,
            pdu.timeline_event_type(),
            pdu.sender(),
            pdu.state_key(),
            pdu.content(),
        );
        let texts = types.ok()?.into_iter();
        let mut texts: Vec<StateKeyText> = texts
            .map(|(event_type, key)| (event_type.to_string(), key))
            .collect();
        // Since room version 12 it is not named, but asked for.
        texts.push(("m.room.create".to_owned(), String::new()));
        Some(texts)
    }

    /// The events of some types and state keys in a state.
    pub(super) async fn texts_in(
        &mut self,
        state: &StateAt,
        texts: &[StateKeyText],
    ) -> Result<State, Error> {
        let keys = self.state_keys().ids(texts.iter().cloned()).await?;
        let nids = keys.values().filter_map(|key| state.entries.get(key));
        let events = self.read_events(nids.copied().collect()).await?;
        Ok(events.into_values().collect())
    }

    /// One event.
    pub(super) async fn event(&mut self, nid: EventNid) -> Result<Arc<Pdu>, Error> {
        let events = self.read_events(vec![nid]).await?;
        let missing = || storage::Error::Corrupt(format!("there is no event {nid:?}"));
        Ok(events.into_values().next().ok_or_else(missing)?)
    }

    /// Events by number, those that were added included.
    pub(super) async fn read_events(
        &mut self,
        nids: Vec<EventNid>,
    ) -> Result<HashMap<EventNid, Arc<Pdu>>, Error> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        for nid in nids {
            match self.pdus.get(&nid) {
                Some(pdu) => drop(found.insert(nid, pdu.clone())),
                None => missing.push(nid),
            }
        }
        if !missing.is_empty() {
            let read = self.rooms.0.live.events(missing).await?;
            self.pdus
                .extend(read.iter().map(|(nid, pdu)| (*nid, pdu.clone())));
            found.extend(read);
        }
        Ok(found)
    }
}
