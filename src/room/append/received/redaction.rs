//! Redactions among received events, which may come before what they redact.
//!
//! Spec: rooms v3, "Handling redactions".

use std::sync::Arc;

use event::{Pdu, PowerLevels, State, Verdict, redact};
use ruma::OwnedEventId;
use storage::{StoredEvent, stream::Redacted};

use super::{Graph, states::StateAt};
use crate::Error;

/// What an event does to another one, if it is a redaction.
#[derive(Debug, Default)]
pub(super) struct Effect {
    /// What it leaves of its target.
    pub(super) redacts: Option<Redacted>,
    /// Its target, if that is not known yet.
    pub(super) awaits: Option<OwnedEventId>,
}

/// An event that was redacted before it came.
#[derive(Debug)]
pub(super) struct RedactedBefore {
    pub(super) redaction: Arc<Pdu>,
    pub(super) original: Arc<Pdu>,
    pub(super) left: Arc<Pdu>,
}

impl Graph<'_> {
    /// What an event does to the one that it redacts.
    pub(super) async fn effect(
        &mut self,
        pdu: &Arc<Pdu>,
        before: &StateAt,
    ) -> Result<Effect, Error> {
        let none = Effect::default();
        if pdu.verdict() != Verdict::Accepted {
            return Ok(none);
        }
        let Some(target) = redact::redaction_target(&self.head.version, pdu) else {
            return Ok(none);
        };
        let Some(found) = self.known.get(&target).cloned() else {
            return Ok(Effect {
                awaits: Some(target),
                ..none
            });
        };
        if found.room_nid != self.head.room_nid
            || found.redacted_because.is_some()
            || !self.applies(pdu, before, &found.pdu).await?
        {
            return Ok(none);
        }
        let left = redact(&self.head.version, &found.pdu)?;
        Ok(Effect {
            redacts: Some(Redacted {
                event_nid: found.nid,
                history_order: found.history_order,
                pdu: Arc::new(left),
            }),
            ..none
        })
    }

    /// What is left of an event if a redaction that came before it takes effect.
    pub(super) async fn redacted_before(
        &mut self,
        pdu: &Arc<Pdu>,
    ) -> Result<Option<RedactedBefore>, Error> {
        let pending = self.pending_redactions.remove(pdu.event_id());
        for redaction in pending.unwrap_or_default() {
            let StoredEvent {
                room_nid,
                snapshot_nid: Some(snapshot),
                pdu: redaction,
                ..
            } = redaction
            else {
                continue;
            };
            // A redaction is no state: the state before it is that after it.
            let before = self.states(&[snapshot]).await?.pop();
            let Some(before) = before.filter(|_| room_nid == self.head.room_nid) else {
                continue;
            };
            if self.applies(&redaction, &before, pdu).await? {
                return Ok(Some(RedactedBefore {
                    redaction,
                    original: pdu.clone(),
                    left: Arc::new(redact(&self.head.version, pdu)?),
                }));
            }
        }
        Ok(None)
    }

    /// Whether a redaction takes effect, by the state before it.
    async fn applies(
        &mut self,
        redaction: &Pdu,
        before: &StateAt,
        target: &Pdu,
    ) -> Result<bool, Error> {
        let levels = ["m.room.create", "m.room.power_levels"];
        let levels = levels.map(|text| (text.to_owned(), String::new()));
        let state: State = self.texts_in(before, &levels).await?;
        let version = &self.head.version;
        let levels = PowerLevels::of(&state, version);
        Ok(redact::applies(version, &levels, redaction, target))
    }
}
