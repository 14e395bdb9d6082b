//! Redactions among received events.
//!
//! Spec: rooms v3, "Handling redactions".

use std::sync::Arc;

use event::{Pdu, PowerLevels, State, Verdict, redact};
use storage::stream::Redacted;

use super::{Graph, states::StateAt};
use crate::Error;

impl Graph<'_> {
    /// What a redaction leaves of its target, if both are known and it takes effect.
    pub(super) async fn redacted(
        &mut self,
        redaction: &Arc<Pdu>,
        before: &StateAt,
    ) -> Result<Option<Redacted>, Error> {
        let version = self.head.version.clone();
        if redaction.verdict() != Verdict::Accepted {
            return Ok(None);
        }
        let Some(target) = redact::redaction_target(&version, redaction) else {
            return Ok(None);
        };
        let Some(target) = self.known.get(&target).cloned() else {
            return Ok(None);
        };
        if target.room_nid != self.head.room_nid || target.redacted_because.is_some() {
            return Ok(None);
        }
        let levels = ["m.room.create", "m.room.power_levels"];
        let state: State = self
            .texts_in(before, &levels.map(|text| (text.to_owned(), String::new())))
            .await?;
        if !redact::applies(
            &version,
            &PowerLevels::of(&state, &version),
            redaction,
            &target.pdu,
        ) {
            return Ok(None);
        }
        let left = redact(&version, &target.pdu)?;
        Ok(Some(Redacted {
            event_nid: target.nid,
            history_order: target.history_order,
            pdu: Arc::new(left),
        }))
    }
}
