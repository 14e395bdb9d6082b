//! Cancels delayed state events in whose place another user has set the same state (MSC4140).

use storage::{
    Change, ChangeKind,
    delayed_events::{self, ReplacingEvent},
};
use tokio_util::sync::CancellationToken;
use worker::{Batch, Follower, Start};

use crate::{Error, Rooms};

impl Rooms {
    /// Follows the state of rooms until it is told to stop; of several processes one does.
    pub async fn cancel_replaced_events(&self, stopping: CancellationToken) -> Result<(), Error> {
        let follower = Follower::builder("delayed_events")
            .kinds(&[ChangeKind::State])
            .from(Start::Now)
            .exclusive()
            .build(self.0.database.clone());
        let Some(follower) = stopping.run_until_cancelled(follower).await else {
            return Ok(());
        };
        let mut follower = follower?;
        while let Some(batch) = stopping.run_until_cancelled(follower.next()).await {
            self.cancel_replaced_by(&mut follower, batch?).await?;
        }
        Ok(follower.release().await?)
    }

    async fn cancel_replaced_by(&self, follower: &mut Follower, batch: Batch) -> Result<(), Error> {
        let by = replacing(&batch);
        if by.is_empty() {
            return Ok(follower.skip(batch).await?);
        }
        let cancelled = {
            let mut db = self.0.database.acquire().await?;
            delayed_events::cancel_replaced(&mut db, &by, self.now_ms()).await?
        };
        if cancelled > 0 {
            tracing::debug!(cancelled, "Other state took the place of delayed events");
        }
        // Safe to do again.
        Ok(follower.skip(batch).await?)
    }
}

/// The new state events. Those that PostgreSQL cannot hold as text are of other servers, and no
/// delayed event is like them.
fn replacing(batch: &Batch) -> Vec<ReplacingEvent> {
    let mut events = Vec::new();
    for (position, change) in &batch.changes {
        let Change::State(delta) = change else {
            continue;
        };
        for event in delta.changes.iter().filter_map(|change| change.to.as_ref()) {
            let pdu = &event.pdu;
            let event = ReplacingEvent {
                room_nid: delta.room_nid,
                position: *position,
                event_type: pdu.event_type().to_owned(),
                state_key: pdu.state_key().unwrap_or_default().to_owned(),
                sender: pdu.sender().to_string(),
            };
            let texts = [&event.event_type, &event.state_key, &event.sender];
            if !texts.iter().any(|text| text.contains('\0')) {
                events.push(event);
            }
        }
    }
    events
}
