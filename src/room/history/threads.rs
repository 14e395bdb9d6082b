//! The threads of a room.
//!
//! Spec: client-server, "Querying threads in a room".

use std::{collections::HashMap, fmt::Write as _, sync::Arc};

use ruma::{OwnedUserId, RoomId};
use storage::{StoredEvent, events, threads};
use types::{EventNid, HistoryOrder, PageToken};

use super::{HistoryView, MAX_PAGE, ignored_by};
use crate::{Error, Reader, Rooms, head::Head, render::Renderer};

/// Threads that each query after the first one reads, where the reader may not see all.
const BATCH_SIZE: usize = 100;
/// Threads that may be passed over before a page ends early.
const MAX_SCANNED: usize = 1000;

/// After all events.
const LAST: HistoryOrder = HistoryOrder(i64::MAX);

/// Which threads are asked for.
#[derive(Clone, Copy, Debug)]
pub struct ThreadsQuery {
    /// Where the page before ended.
    pub from: Option<PageToken>,
    /// How many threads at the most.
    pub limit: usize,
    /// Only those that the reader has begun or replied in.
    pub participated: bool,
}

/// A page of threads.
struct ThreadPage {
    roots: Vec<StoredEvent>,
    next: Option<PageToken>,
}

impl Rooms {
    /// The body of `/threads`: the events with which threads begin, the one with the last reply first.
    #[tracing::instrument(name = "room.threads", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn threads(
        &self,
        room_id: &RoomId,
        reader: Reader<'_>,
        query: ThreadsQuery,
    ) -> Result<String, Error> {
        let head = self.check_read_access(room_id, reader).await?;
        let mut view = self.history_view(&head, reader.user_id).await?;
        let ignored = {
            let mut db = self.0.database.acquire().await?;
            ignored_by(&mut db, reader.user_id).await?
        };
        let page = self
            .thread_page(&head, reader, &mut view, query, &ignored)
            .await?;
        let aggregations = self.aggregations(reader, &mut view, &page.roots).await?;
        let roots = page
            .roots
            .into_iter()
            .map(|root| redact_ignored(&head, root, &ignored))
            .collect::<Result<Vec<_>, _>>()?;
        let renderer = Renderer {
            reader,
            visibility: &view.visibility,
            aggregations: &aggregations,
            now_ms: self.0.clock.now_ms(),
        };
        let mut body = format!(r#"{{"chunk":{}"#, renderer.events(&roots));
        if let Some(next) = page.next {
            // Writing to a `String` cannot fail.
            let _ = write!(body, r#","next_batch":"{next}""#);
        }
        body.push('}');
        Ok(body)
    }

    /// The threads whose first event the reader may see.
    async fn thread_page(
        &self,
        head: &Head,
        reader: Reader<'_>,
        view: &mut HistoryView,
        query: ThreadsQuery,
        ignored: &[OwnedUserId],
    ) -> Result<ThreadPage, Error> {
        let limit = query.limit.clamp(1, MAX_PAGE);
        // A former member sees no reply that came after the last stay.
        let last_leave = view.visibility.last_leave();
        let left = last_leave.and_then(|leave| leave.position);
        let visible_until = left.map_or(LAST, HistoryOrder::of);
        let mut until = query.from.map_or(LAST, |PageToken(from)| from);
        let mut db = self.0.database.acquire().await?;
        let (mut roots, mut scanned) = (Vec::new(), 0);
        let mut batch = limit + 1;
        loop {
            let wanted = threads::ThreadQuery {
                room_nid: head.room_nid,
                visible_until,
                until,
                participant: query.participated.then_some(reader.user_id),
                ignored,
                limit: batch as i64,
            };
            let found = threads::find(&mut db, wanted).await?;
            let nids: Vec<EventNid> = found.iter().map(|thread| thread.root).collect();
            let events = if nids.is_empty() {
                Vec::new()
            } else {
                events::by_nids(&mut db, &nids).await?
            };
            view.look_up(&mut db, &events).await?;
            let mut events: HashMap<EventNid, StoredEvent> =
                events.into_iter().map(|event| (event.nid, event)).collect();
            scanned += found.len();
            let exhausted = found.len() < batch;
            for thread in found {
                if roots.len() == limit {
                    let next = Some(PageToken(until));
                    return Ok(ThreadPage { roots, next });
                }
                until = thread.last.before();
                let root = events.remove(&thread.root);
                roots.extend(root.filter(|root| view.visibility.may_see(root)));
            }
            if exhausted || scanned >= MAX_SCANNED {
                let next = (!exhausted).then_some(PageToken(until));
                return Ok(ThreadPage { roots, next });
            }
            batch = batch.max(BATCH_SIZE);
        }
    }
}

/// Spec: client-server, "GET /threads": a root that an ignored user has sent is returned redacted.
fn redact_ignored(
    head: &Head,
    mut root: StoredEvent,
    ignored: &[OwnedUserId],
) -> Result<StoredEvent, Error> {
    if ignored.iter().any(|ignored| ignored == root.pdu.sender()) {
        root.pdu = Arc::new(event::redact(&head.version, &root.pdu)?);
        root.redacted_because = None;
    }
    Ok(root)
}
