//! Judging events while parts of a room's state are not known.
//!
//! MSC3902: an event is then judged by what is known, resolved with what it names in `auth_events`. So its
//! sender counts as a member, but for what is known to say otherwise. All is judged once more when the
//! whole state is known.

use event::{Pdu, Verdict, resolve::Conflict};
use types::{EventNid, StateKeyNid};

use super::{Graph, states::StateAt};
use crate::Error;

impl Graph<'_> {
    /// What a state of which parts are not known becomes when it is resolved with what an event claims
    /// of it; nothing if the whole state is known.
    pub(super) async fn claimed_changes(
        &mut self,
        pdu: &Pdu,
        state: &StateAt,
    ) -> Result<Vec<(StateKeyNid, Option<EventNid>)>, Error> {
        if !self.head.state.is_partial() {
            return Ok(Vec::new());
        }
        let Some(texts) = self.auth_texts(pdu) else {
            return Ok(Vec::new());
        };
        let keys = self.state_keys().ids(texts).await?;
        let mut claimed = Vec::new();
        for event_id in pdu.auth_events() {
            let Some(found) = self.known.get(event_id) else {
                continue;
            };
            let Some(state_key) = found.pdu.state_key() else {
                continue;
            };
            let text = (found.pdu.event_type().to_owned(), state_key.to_owned());
            if let Some(key) = keys.get(&text)
                && found.pdu.verdict() != Verdict::Rejected
                && state.entries.get(key) != Some(&found.nid)
            {
                claimed.push((*key, Some(found.nid)));
            }
        }
        let claimed = state.unstored(&claimed);
        let conflict = Conflict::between(&[state.entries.clone(), claimed.entries]);
        let changes = self.resolve_conflict(conflict, state).await?;
        let changed = changes
            .into_iter()
            .filter(|(key, event)| state.entries.get(key) != event.as_ref());
        Ok(changed.collect())
    }
}
