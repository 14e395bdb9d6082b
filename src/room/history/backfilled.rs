//! Pages of a history of which other servers may know more.

use ruma::api::Direction as Way;
use storage::{
    event_edges::{self, Gap},
    events,
};
use tokio::time::Instant;
use types::{HistoryOrder, PageToken};

use super::{HistoryView, MAX_PAGE, Page, PageRequest, Source, page};
use crate::{
    Error, Rooms,
    backfill::{Filled, WAIT},
    head::Head,
};

/// How often other servers are asked for one page.
const MAX_ROUNDS: usize = 12;
/// How many events before the known history ends it is continued.
const AHEAD: i64 = 100;

/// The most gaps that are looked at.
const MAX_GAPS: i64 = 100;

/// Where the known history ends next, seen from a page.
enum Next {
    /// Within the page.
    Inside(Gap),
    /// So soon after it that the reader may come there.
    Soon(Gap),
    /// Not near.
    Far,
}

impl Rooms {
    /// A page of a room's timeline. Backwards, what is missing in it is asked of other servers, as far
    /// as they answer soon; what comes next is asked for without waiting.
    pub(super) async fn backfilled_page(
        &self,
        head: &Head,
        view: &mut HistoryView,
        request: &PageRequest,
    ) -> Result<Page, Error> {
        let mut found = self.timeline_page(head, view, request).await?;
        if request.direction == Way::Forward {
            return self.close_gaps(head, view, request, found).await;
        }
        let deadline = Instant::now() + WAIT;
        // The event at which the page before this one ended may be where history ends, too.
        let mut below = after(found.start.0);
        let mut is_open = false;
        for round in 1..=MAX_ROUNDS {
            let gap = match self.next_gap(head, &found, request, below).await? {
                Next::Inside(gap) => gap,
                Next::Soon(gap) => {
                    self.fill_gap_ahead(head, gap);
                    break;
                }
                Next::Far => break,
            };
            match self.fill_gap_now(head, &gap, deadline).await {
                Filled::Changed => {
                    found = self.timeline_page(head, view, request).await?;
                    is_open |= round == MAX_ROUNDS;
                }
                filled => {
                    below = gap.order.before();
                    is_open |= filled == Filled::NotYet;
                }
            }
        }
        if is_open {
            // There may be more as soon as another server answers.
            found.end = found.end.or(Some(PageToken(found.reached)));
        }
        Ok(found)
    }

    /// The same forwards: a gap is filled from its end to its beginning before the page goes on past
    /// it. While there is more to fill, the page ends before it.
    async fn close_gaps(
        &self,
        head: &Head,
        view: &mut HistoryView,
        request: &PageRequest,
        mut found: Page,
    ) -> Result<Page, Error> {
        let deadline = Instant::now() + WAIT;
        let mut above = match (request.from, found.events.first()) {
            (None, Some(first)) => first.history_order.unwrap_or(found.start.0),
            _ => found.start.0,
        };
        for round in 1..=MAX_ROUNDS {
            let Some(gap) = self.first_gap(head, above, found.reached).await? else {
                break;
            };
            match self.fill_gap_now(head, &gap, deadline).await {
                Filled::Changed if round < MAX_ROUNDS => {
                    found = self.timeline_page(head, view, request).await?;
                }
                // What is known is shown all the same.
                Filled::Never | Filled::NotYet => above = gap.order,
                Filled::Changed => {
                    (found.events).retain(|event| event.history_order < Some(gap.order));
                    found.end = Some(PageToken(gap.order.before()));
                    break;
                }
            }
        }
        Ok(found)
    }

    /// The first event between two places, at which the known history ends.
    async fn first_gap(
        &self,
        head: &Head,
        above: HistoryOrder,
        until: HistoryOrder,
    ) -> Result<Option<Gap>, Error> {
        if !self.has_remote_members(head) {
            return Ok(None);
        }
        let mut db = self.0.database.acquire().await?;
        let gaps = event_edges::gaps(&mut db, head.room_nid, until, MAX_GAPS).await?;
        Ok(gaps.into_iter().rev().find(|gap| gap.order > above))
    }

    async fn timeline_page(
        &self,
        head: &Head,
        view: &mut HistoryView,
        request: &PageRequest,
    ) -> Result<Page, Error> {
        let mut db = self.0.database.acquire().await?;
        page(&mut db, Source::Timeline(head.room_nid), view, request).await
    }

    /// Where the known history ends next at or before a place.
    async fn next_gap(
        &self,
        head: &Head,
        page: &Page,
        request: &PageRequest,
        below: HistoryOrder,
    ) -> Result<Next, Error> {
        if !self.has_remote_members(head) {
            return Ok(Next::Far);
        }
        let mut db = self.0.database.acquire().await?;
        let Some(gap) = self.gap_before(&mut db, head, below).await? else {
            return Ok(Next::Far);
        };
        if request.to.is_some_and(|PageToken(to)| gap.order <= to) {
            return Ok(Next::Far);
        }
        let is_full = page.events.len() >= request.limit.clamp(1, MAX_PAGE);
        let last = after(page.reached);
        if gap.order > last || (gap.order == last && !is_full) {
            return Ok(Next::Inside(gap));
        }
        let between = (gap.order.before(), page.reached);
        let count = events::count_between(&mut db, head.room_nid, between, AHEAD + 1).await?;
        Ok(if count > AHEAD {
            Next::Far
        } else {
            Next::Soon(gap)
        })
    }
}

/// The place of the event that a page ended with.
fn after(order: HistoryOrder) -> HistoryOrder {
    HistoryOrder(order.get().saturating_add(1))
}
