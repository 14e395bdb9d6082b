//! What the rules say of received events.

use std::sync::Arc;

use event::{
    Denied, Pdu, Verdict,
    receive::{self, AuthEventsError},
};
use ruma::EventId;
use types::EventNid;

use super::{Graph, states::StateAt};
use crate::Error;

impl Graph<'_> {
    /// What the rules say of an event by its auth events, the state before it and the current state,
    /// with what does not allow it; or why it cannot be stored.
    pub(super) async fn verdict(
        &mut self,
        pdu: &Arc<Pdu>,
        states: &[StateAt; 2],
        outlier: Option<(EventNid, Verdict)>,
    ) -> Result<Result<(Verdict, Option<Denied>), &'static str>, Error> {
        let find = |id: &EventId| self.known.get(id).map(|found| found.pdu.clone());
        let create = self.head.state.core().get("m.room.create", "");
        match receive::check_auth_events(&self.head.version, pdu, create, &find) {
            Err(AuthEventsError::Missing(_)) => {
                return Ok(Err("Events that authorise it are not known"));
            }
            Err(AuthEventsError::Denied(denied)) => {
                tracing::debug!(event.id = %pdu.event_id(), %denied, "An event is rejected by its auth events");
                return Ok(Ok((Verdict::Rejected, Some(denied))));
            }
            Ok(()) => {}
        }
        if outlier.is_some_and(|(_, verdict)| verdict == Verdict::Rejected) {
            return Ok(Ok((Verdict::Rejected, None)));
        }
        let Some([before, current]) = self.rules_states(pdu, states).await? else {
            return Ok(Ok((Verdict::Rejected, None)));
        };
        let (verdict, denied) = receive::judge(&self.head.version, pdu, &before, &current);
        if let Some(denied) = &denied {
            tracing::debug!(event.id = %pdu.event_id(), ?verdict, %denied, "An event of another server is not accepted");
        }
        Ok(Ok((verdict, denied)))
    }
}
