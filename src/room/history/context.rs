//! An event and the events around it: `/context`.

use ruma::{EventId, RoomId, api::Direction as Way};
use types::PageToken;

use super::{HistoryFilter, PageRequest};
use crate::{
    Error, Reader, Rooms,
    render::{self, Renderer},
};

impl Rooms {
    /// The body of `/context/{eventId}`: half of the events before, half after.
    #[tracing::instrument(name = "room.context", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn context(
        &self,
        room_id: &RoomId,
        reader: Reader<'_>,
        event_id: &EventId,
        limit: usize,
        filter: HistoryFilter,
    ) -> Result<String, Error> {
        let (event, mut view) = self
            .visible_event_of_any_server(room_id, reader, event_id)
            .await?;
        let at = event.history_order.ok_or(Error::UnknownEvent)?;
        let around = |direction, from, limit: usize| PageRequest {
            from: Some(PageToken(from)),
            to: None,
            direction,
            limit: limit.max(1),
            filter: filter.clone(),
        };
        // The odd event belongs to the later side.
        let (limit_before, limit_after) = (limit / 2, limit - limit / 2);
        let head = self.head(room_id).await?;
        let earlier = around(Way::Backward, at.before(), limit_before);
        let later = around(Way::Forward, at, limit_after);
        let mut before = self.backfilled_page(&head, &mut view, &earlier).await?;
        let mut after = self.backfilled_page(&head, &mut view, &later).await?;
        before.events.truncate(limit_before);
        after.events.truncate(limit_after);
        let shown = before.events.iter().chain(&after.events).chain([&event]);
        let aggregations = self.aggregations(reader, &mut view, shown).await?;
        let mut db = self.0.database.acquire().await?;
        let visibility = view.visibility;
        let last = after.events.last().unwrap_or(&event);
        let state = self
            .state_after(&mut db, visibility.snapshot_with(last))
            .await?;
        let now_ms = self.0.clock.now_ms();
        let events = before.events.iter().chain(&after.events).chain([&event]);
        let senders: Vec<_> = events.map(|event| event.pdu.sender().as_str()).collect();
        let wanted = |pdu: &&event::Pdu| {
            !filter.lazy_load_members
                || pdu.event_type() != "m.room.member"
                || pdu.state_key().is_some_and(|user| senders.contains(&user))
        };
        let shown: Vec<_> = state.iter().map(AsRef::as_ref).filter(wanted).collect();
        let renderer = Renderer {
            reader,
            visibility: &visibility,
            aggregations: &aggregations,
            now_ms,
        };
        let mut target = String::new();
        renderer.event(&event, &mut target);
        // The tokens stand outside of what was shown, so that paging goes on from there.
        let order = |event: &storage::StoredEvent| event.history_order.unwrap_or(at);
        let oldest = order(before.events.last().unwrap_or(&event));
        Ok(format!(
            r#"{{"start":"{}","end":"{}","event":{target},"events_before":{},"events_after":{},"state":{}}}"#,
            PageToken(oldest.before()),
            PageToken(order(last)),
            renderer.events(&before.events),
            renderer.events(&after.events),
            render::state(shown, now_ms),
        ))
    }
}
