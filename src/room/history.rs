//! Reading a room's history, as far as the reader may see it.
//!
//! Spec: client-server, "Getting events for a room" and "Room history visibility".

use std::collections::HashSet;

use event::{
    EventFilter, State,
    filter::{RelationFilter, lazy_loads_members},
    visibility::visibility,
};
use live::UserVisibility;
use ruma::{
    EventId, RoomId, UserId,
    api::{Direction as Way, client::filter::RoomEventFilter},
    events::room::{history_visibility::HistoryVisibility, member::MembershipState},
};
use storage::{
    StoredEvent, events,
    events::{Direction, RelationQuery},
    memberships,
};
use tokio::time::Instant;
use types::{HistoryOrder, PageToken, RoomNid};

use crate::{Error, Reader, Rooms, backfill::WAIT, head::Head, render::Renderer};

mod aggregations;
mod at_time;
mod backfilled;
mod context;
mod contexts;
mod members;
mod relations;
mod threads;

pub(crate) use aggregations::ignored_by;
pub(crate) use contexts::DecidingKeys;

pub use members::MembersQuery;
pub use relations::RelationsQuery;
pub use threads::ThreadsQuery;

/// The most events of a page.
const MAX_PAGE: usize = 1000;
/// Events that a filter may pass over before a page ends early.
const MAX_SCANNED: usize = 10_000;
/// Events that each query after the first one reads, so that a sparse filter takes few queries.
const BATCH_SIZE: usize = 500;

/// Which events of a room are asked for.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// Where to start; at the end to which the direction points away from, if there is none.
    pub from: Option<PageToken>,
    /// Where to stop.
    pub to: Option<PageToken>,
    /// Which way to read.
    pub direction: Way,
    /// How many events at the most.
    pub limit: usize,
    /// Which events.
    pub filter: HistoryFilter,
}

/// Which events of a room's history are asked for, and which members come with them.
#[derive(Clone, Debug, Default)]
pub struct HistoryFilter {
    /// Which events.
    pub events: EventFilter,
    /// Whether the members are returned that sent one of the events, and no others.
    pub lazy_load_members: bool,
}

impl From<&RoomEventFilter> for HistoryFilter {
    fn from(filter: &RoomEventFilter) -> Self {
        Self {
            events: EventFilter::from(filter),
            lazy_load_members: lazy_loads_members(filter),
        }
    }
}

impl HistoryFilter {
    /// The same for events that relate to others in some ways only.
    #[must_use]
    pub fn with_relations(self, relations: RelationFilter) -> Self {
        Self {
            events: self.events.with_relations(relations),
            ..self
        }
    }
}

impl Rooms {
    /// The body of `/messages`.
    #[tracing::instrument(name = "room.messages", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn messages(
        &self,
        room_id: &RoomId,
        reader: Reader<'_>,
        request: &PageRequest,
    ) -> Result<String, Error> {
        let head = self.check_read_access(room_id, reader).await?;
        let mut view = self.history_view(&head, reader.user_id).await?;
        let page = self.backfilled_page(&head, &mut view, request).await?;
        let aggregations = self.aggregations(reader, &mut view, &page.events).await?;
        let visibility = view.visibility;
        let renderer = Renderer {
            reader,
            visibility: &visibility,
            aggregations: &aggregations,
            now_ms: self.0.clock.now_ms(),
        };
        let mut body = format!(
            r#"{{"start":"{}","chunk":{}"#,
            page.start,
            renderer.events(&page.events)
        );
        if let Some(end) = page.end {
            body.push_str(r#","end":""#);
            body.push_str(&end.to_string());
            body.push('"');
        }
        if request.filter.lazy_load_members {
            let state = self
                .state_for_lazy_members(&head, reader.user_id, &visibility, &page.events)
                .await?;
            let members = senders(&page.events);
            let members = members.filter_map(|user_id| state.get("m.room.member", user_id));
            let members = members.map(AsRef::as_ref);
            body.push_str(r#","state":"#);
            body.push_str(&crate::render::state(members, renderer.now_ms));
        }
        body.push('}');
        Ok(body)
    }

    /// The body of `/event/{eventId}`.
    pub async fn event(
        &self,
        room_id: &RoomId,
        reader: Reader<'_>,
        event_id: &EventId,
    ) -> Result<String, Error> {
        let (event, mut view) = self
            .visible_event_of_any_server(room_id, reader, event_id)
            .await?;
        let aggregations = self.aggregations(reader, &mut view, [&event]).await?;
        let renderer = Renderer {
            reader,
            visibility: &view.visibility,
            aggregations: &aggregations,
            now_ms: self.0.clock.now_ms(),
        };
        let mut body = String::new();
        renderer.event(&event, &mut body);
        Ok(body)
    }

    /// An event that the reader may see; one that is hidden looks like one that does not exist.
    pub(crate) async fn visible_event(
        &self,
        room_id: &RoomId,
        reader: Reader<'_>,
        event_id: &EventId,
    ) -> Result<(StoredEvent, HistoryView), Error> {
        let head = match self.check_read_access(room_id, reader).await {
            Err(Error::NotInRoom) => return Err(Error::UnknownEvent),
            head => head?,
        };
        let mut view = self.history_view(&head, reader.user_id).await?;
        let mut db = self.0.database.acquire().await?;
        let event = events::find(&mut db, head.room_nid, event_id).await?;
        let event = event.filter(|event| event.is_accepted() && event.history_order.is_some());
        let event = event.ok_or(Error::UnknownEvent)?;
        view.look_up(&mut db, std::slice::from_ref(&event)).await?;
        if view.visibility.may_see(&event) {
            Ok((event, view))
        } else {
            Err(Error::UnknownEvent)
        }
    }

    /// An event that the reader may see; one that is not known is asked of other servers.
    async fn visible_event_of_any_server(
        &self,
        room_id: &RoomId,
        reader: Reader<'_>,
        event_id: &EventId,
    ) -> Result<(StoredEvent, HistoryView), Error> {
        let unknown = match self.visible_event(room_id, reader, event_id).await {
            Err(error @ Error::UnknownEvent) => error,
            found => return found,
        };
        let Ok(head) = self.check_read_access(room_id, reader).await else {
            return Err(unknown);
        };
        // One that is known may not be seen.
        if self.is_in_history(&head, event_id).await? {
            return Err(unknown);
        }
        let deadline = Instant::now() + WAIT;
        if !self.fetch_unknown(&head, event_id, deadline).await {
            return Err(unknown);
        }
        self.visible_event(room_id, reader, event_id).await
    }

    /// Whether an event is part of a room's known history.
    async fn is_in_history(&self, head: &Head, event_id: &EventId) -> Result<bool, Error> {
        let mut db = self.0.database.acquire().await?;
        let found = events::find(&mut db, head.room_nid, event_id).await?;
        Ok(found.is_some_and(|found| found.history_order.is_some()))
    }

    /// What a user sees of a room's history.
    pub(crate) async fn history_view(
        &self,
        head: &Head,
        user_id: &UserId,
    ) -> Result<HistoryView, Error> {
        let keys = self.deciding_keys_for(head, user_id).await?;
        let mut db = self.0.database.acquire().await?;
        let visibility = UserVisibility::load(&mut db, head.room_nid, user_id).await?;
        Ok(HistoryView { visibility, keys })
    }

    /// The state from which lazy-loaded members of a page are taken: of the current one the senders,
    /// if the user may see it, else the state after the newest event of the page.
    async fn state_for_lazy_members(
        &self,
        head: &Head,
        user_id: &UserId,
        user_visibility: &UserVisibility,
        events: &[StoredEvent],
    ) -> Result<State, Error> {
        if head.state.membership(user_id) == MembershipState::Join
            || visibility(head.state.core()) == HistoryVisibility::WorldReadable
        {
            let members = head.state.members();
            let senders = senders(events).filter_map(|user_id| members.get(user_id));
            let events = self
                .0
                .live
                .events(senders.map(|member| member.event_nid))
                .await?;
            return Ok(events.into_values().collect());
        }
        match events.iter().max_by_key(|event| event.history_order) {
            Some(newest) => {
                let snapshot_nid = user_visibility.snapshot_with(newest);
                let mut db = self.0.database.acquire().await?;
                self.state_after(&mut db, snapshot_nid).await
            }
            None => Ok(State::new()),
        }
    }

    /// The head of a room whose history the reader may access: as a member, as a former member who
    /// has not forgotten the room, or because it is world-readable.
    pub(crate) async fn check_read_access(
        &self,
        room_id: &RoomId,
        reader: Reader<'_>,
    ) -> Result<Head, Error> {
        let head = match self.head(room_id).await {
            Err(Error::UnknownRoom) => return Err(Error::NotInRoom),
            head => head?,
        };
        let membership = head.state.membership(reader.user_id);
        if membership == MembershipState::Join
            || visibility(head.state.core()) == HistoryVisibility::WorldReadable
        {
            return Ok(head);
        }
        let mut db = self.0.database.acquire().await?;
        let row = memberships::find(&mut db, room_id, reader.user_id).await?;
        if row.is_none_or(|row| row.forgotten) {
            return Err(Error::NotInRoom);
        }
        let user_visibility = UserVisibility::load(&mut db, head.room_nid, reader.user_id).await?;
        let may_read = user_visibility.was_member()
            || (membership == MembershipState::Invite
                && visibility(head.state.core()) == HistoryVisibility::Invited);
        if may_read {
            Ok(head)
        } else {
            Err(Error::NotInRoom)
        }
    }
}

/// What a user sees of a room's history, with what must be looked up to tell it of each event.
pub(crate) struct HistoryView {
    visibility: UserVisibility,
    keys: Option<DecidingKeys>,
}

impl HistoryView {
    /// Looks up what is needed to tell whether the user sees the events.
    async fn look_up(
        &mut self,
        db: &mut storage::Connection,
        events: &[StoredEvent],
    ) -> Result<(), storage::Error> {
        match self.keys {
            Some(keys) => keys.look_up(db, &mut self.visibility, events).await,
            None => Ok(()),
        }
    }
}

/// What is paged through.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// A room's timeline.
    Timeline(RoomNid),
    /// The events of it that relate to an event.
    Related(RelationQuery<'a>),
}

impl Source<'_> {
    async fn read(
        self,
        db: &mut storage::Connection,
        remaining: &Remaining,
        limit: i64,
    ) -> Result<Vec<StoredEvent>, storage::Error> {
        let &Remaining {
            after,
            until,
            direction,
        } = remaining;
        match self {
            Self::Timeline(room_nid) => {
                events::history(db, room_nid, after, until, direction, limit).await
            }
            Self::Related(wanted) => {
                events::related(db, wanted, after, until, direction, limit).await
            }
        }
    }
}

struct Page {
    start: PageToken,
    end: Option<PageToken>,
    /// Up to where was read.
    reached: HistoryOrder,
    events: Vec<StoredEvent>,
}

/// What is left to read of a history: the events after `after`, up to and with `until`.
struct Remaining {
    after: HistoryOrder,
    until: HistoryOrder,
    direction: Direction,
}

impl Remaining {
    fn new(request: &PageRequest, latest: HistoryOrder) -> Self {
        let from = request.from.map(|PageToken(from)| from);
        let to = request.to.map(|PageToken(to)| to);
        match request.direction {
            Way::Backward => Self {
                after: to.unwrap_or(HistoryOrder::MIN),
                until: from.unwrap_or(latest),
                direction: Direction::Backward,
            },
            Way::Forward => Self {
                after: from.unwrap_or(HistoryOrder::MIN),
                until: to.unwrap_or(latest),
                direction: Direction::Forward,
            },
        }
    }

    /// Where reading goes on.
    fn token(&self) -> PageToken {
        PageToken(match self.direction {
            Direction::Backward => self.until,
            Direction::Forward => self.after,
        })
    }

    /// Takes off an event that has been read.
    fn skip(&mut self, order: HistoryOrder) {
        match self.direction {
            Direction::Backward => self.until = order.before(),
            Direction::Forward => self.after = order,
        }
    }
}

/// Reads in batches until the page is full, the room ends, or enough was passed over.
async fn page(
    db: &mut storage::Connection,
    source: Source<'_>,
    view: &mut HistoryView,
    request: &PageRequest,
) -> Result<Page, Error> {
    let limit = request.limit.clamp(1, MAX_PAGE);
    let latest = HistoryOrder::of(storage::stream::position(db).await?);
    let mut remaining = Remaining::new(request, latest);
    let start = remaining.token();
    let mut events: Vec<StoredEvent> = Vec::new();
    let mut scanned = 0;
    let mut batch = limit + 1;
    let end = loop {
        let found = source.read(db, &remaining, batch as i64).await?;
        let exhausted = found.len() < batch;
        scanned += found.len();
        view.look_up(db, &found).await?;
        for event in found {
            if events.len() == limit {
                break;
            }
            let Some(order) = event.history_order else {
                continue;
            };
            remaining.skip(order);
            if view.visibility.may_see(&event) && request.filter.events.allows(&event.pdu) {
                events.push(event);
            }
        }
        if events.len() == limit || scanned >= MAX_SCANNED {
            break Some(remaining.token());
        }
        if exhausted {
            break None;
        }
        batch = batch.max(BATCH_SIZE);
    };
    // What a filter passed over does not show where the room ends, and forward it goes on: only an
    // empty page is the last one.
    let end = end.or((!events.is_empty()).then_some(remaining.token()));
    Ok(Page {
        start,
        end,
        reached: remaining.token().0,
        events,
    })
}

/// Those who sent the events, each once.
fn senders(events: &[StoredEvent]) -> impl Iterator<Item = &str> {
    let senders: HashSet<&str> = events
        .iter()
        .map(|event| event.pdu.sender().as_str())
        .collect();
    senders.into_iter()
}
