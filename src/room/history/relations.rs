//! The events that relate to an event.
//!
//! Spec: client-server, "Relationships API".

use std::fmt::Write as _;

use ruma::{EventId, RoomId};
use storage::events::{MAX_RECURSION_DEPTH, RelationQuery};

use super::{PageRequest, Source, page};
use crate::{Error, Reader, Rooms, render::Renderer};

/// Which related events are asked for.
#[derive(Clone, Debug)]
pub struct RelationsQuery {
    /// Only relations of this type.
    pub rel_type: Option<String>,
    /// Only events of this type.
    pub event_type: Option<String>,
    /// Whether also those that relate to it by others in between.
    pub recurse: bool,
    /// Which page of them.
    pub page: PageRequest,
}

impl Rooms {
    /// The body of `/relations/{eventId}`.
    #[tracing::instrument(name = "room.relations", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn relations(
        &self,
        room_id: &RoomId,
        reader: Reader<'_>,
        event_id: &EventId,
        query: &RelationsQuery,
    ) -> Result<String, Error> {
        let (target, mut view) = self.visible_event(room_id, reader, event_id).await?;
        let source = Source::Related(RelationQuery {
            room_nid: target.room_nid,
            target: event_id,
            rel_type: query.rel_type.as_deref(),
            event_type: query.event_type.as_deref(),
            recurse: query.recurse,
        });
        let mut db = self.0.database.acquire().await?;
        let found = page(&mut db, source, &mut view, &query.page).await?;
        drop(db);
        let aggregations = self.aggregations(reader, &mut view, &found.events).await?;
        let renderer = Renderer {
            reader,
            visibility: &view.visibility,
            aggregations: &aggregations,
            now_ms: self.0.clock.now_ms(),
        };
        let mut body = format!(r#"{{"chunk":{}"#, renderer.events(&found.events));
        if let Some(end) = found.end {
            // Writing to a `String` cannot fail.
            let _ = write!(body, r#","next_batch":"{end}""#);
        }
        if query.page.from.is_some() {
            let _ = write!(body, r#","prev_batch":"{}""#, found.start);
        }
        if query.recurse {
            let _ = write!(body, r#","recursion_depth":{MAX_RECURSION_DEPTH}"#);
        }
        body.push('}');
        Ok(body)
    }
}
