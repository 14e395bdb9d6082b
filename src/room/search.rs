//! Searching messages, room names and topics.
//!
//! Spec: client-server, "Server Side Search".

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    str::FromStr,
};

use event::{EventFilter, json::JsonWriter};
use live::Aggregations;
use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use serde::Deserialize;
use storage::{
    StoredEvent, Tx, events,
    search::{self, SearchHit, SearchQuery},
};
use types::{EventNid, RoomNid};

use crate::{Error, Reader, Rooms};

mod index;
mod token;
mod views;
mod write;

use token::SearchToken;
use views::Views;

/// The most results of a page.
const MAX_PAGE: usize = 100;
/// The most events on each side of a result.
const MAX_CONTEXT: usize = 20;
/// Events that are read at once.
const BATCH_SIZE: i64 = 250;
/// Events that the searcher may not see, or that a filter excludes, before a page ends early.
const MAX_SCANNED: usize = 2500;
/// The longest chain of upgrades that is followed from a room.
const MAX_PREDECESSORS: usize = 20;

/// What to search for.
#[derive(Clone, Debug)]
pub struct EventSearch {
    /// The words that must all be there.
    pub term: String,
    /// The types of events: those of the keys that are searched.
    pub event_types: Vec<&'static str>,
    /// Only these rooms, and those that they have replaced.
    pub rooms: Option<Vec<OwnedRoomId>>,
    /// Only events of these senders.
    pub senders: Option<Vec<OwnedUserId>>,
    /// What else is asked of the events.
    pub filter: EventFilter,
    /// How many results at the most.
    pub limit: usize,
    /// Whether the best come first, rather than the newest.
    pub by_rank: bool,
    /// The events around each result, if asked for.
    pub context: Option<SearchContext>,
    /// Whether the current state of the rooms is returned.
    pub include_state: bool,
    /// How the results are grouped.
    pub groupings: Vec<Grouping>,
    /// Where the page before ended.
    pub next_batch: Option<String>,
}

/// Which events around each result are returned.
#[derive(Clone, Copy, Debug)]
pub struct SearchContext {
    /// How many before.
    pub before: usize,
    /// How many after.
    pub after: usize,
    /// Whether the names and avatars of their senders are returned, as they were.
    pub include_profile: bool,
}

/// By what results are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// By room.
    Room,
    /// By sender.
    Sender,
}

/// A result.
struct Found {
    hit: SearchHit,
    event: StoredEvent,
}

/// A page of results.
struct ResultPage {
    results: Vec<Found>,
    /// About how many there are in all.
    count: u64,
    next: Option<SearchToken>,
}

/// The events around a result.
#[derive(Default)]
struct Surroundings {
    /// The nearest first.
    before: Vec<StoredEvent>,
    after: Vec<StoredEvent>,
}

impl Rooms {
    /// The body of `/search`.
    #[tracing::instrument(name = "room.search", skip_all, err(level = "debug"))]
    pub async fn search(&self, reader: Reader<'_>, wanted: &EventSearch) -> Result<String, Error> {
        let token = wanted.next_batch.as_deref().map(SearchToken::from_str);
        let token = token.transpose()?;
        let rooms = self.searched_rooms(reader, wanted, token.as_ref()).await?;
        // Asked before a connection is held.
        let keys = self.deciding_keys_of(reader.user_id).await?;
        let mut snapshot = self.0.database.snapshot().await?;
        let mut views = Views::new(&mut snapshot, reader.user_id, keys).await?;
        let page = self
            .result_page(&mut snapshot, &mut views, (wanted, token), &rooms)
            .await?;
        let surroundings = match wanted.context {
            Some(context) => {
                surroundings(&mut snapshot, &mut views, &page.results, context).await?
            }
            None => Vec::new(),
        };
        let around = surroundings.iter();
        let around = around.flat_map(|around| around.before.iter().chain(&around.after));
        let shown: Vec<&StoredEvent> = page
            .results
            .iter()
            .map(|found| &found.event)
            .chain(around)
            .collect();
        let aggregations = views.aggregations(&mut snapshot, &shown).await?;
        snapshot.commit().await?;
        self.write_results(
            reader,
            wanted,
            &Results {
                page: &page,
                surroundings: &surroundings,
                views: &views,
                aggregations: &aggregations,
            },
        )
        .await
    }

    /// The rooms that are searched.
    async fn searched_rooms(
        &self,
        reader: Reader<'_>,
        wanted: &EventSearch,
        token: Option<&SearchToken>,
    ) -> Result<Vec<RoomNid>, Error> {
        let mut rooms = {
            let mut db = self.0.database.acquire().await?;
            search::rooms_of(&mut db, reader.user_id).await?
        };
        if let Some(named) = &wanted.rooms {
            let mut with_predecessors = HashSet::new();
            for room_id in named {
                self.add_with_predecessors(room_id, &rooms, &mut with_predecessors)
                    .await?;
            }
            rooms.retain(|room_id, _| with_predecessors.contains(room_id));
        }
        let of_group = token.and_then(SearchToken::room);
        rooms.retain(|room_id, _| {
            wanted.filter.allows_not_room(room_id)
                && of_group.as_ref().is_none_or(|of| of == room_id)
        });
        Ok(rooms.into_values().collect())
    }

    /// Adds a room, and those that it has replaced one after the other, as far as they may be searched.
    async fn add_with_predecessors(
        &self,
        room_id: &RoomId,
        rooms: &HashMap<OwnedRoomId, RoomNid>,
        found: &mut HashSet<OwnedRoomId>,
    ) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Create {
            predecessor: Predecessor,
        }
        #[derive(Deserialize)]
        struct Predecessor {
            room_id: OwnedRoomId,
        }
        let mut next = Some(room_id.to_owned());
        for _ in 0..MAX_PREDECESSORS {
            let Some(room_id) = next.take().filter(|room_id| rooms.contains_key(room_id)) else {
                break;
            };
            let state = self.0.live.room_state(&room_id).await?;
            let create = state.and_then(|state| state.core().get("m.room.create", "").cloned());
            let create = create.and_then(|create| create.content_as::<Create>().ok());
            if !found.insert(room_id) {
                break;
            }
            next = create.map(|create| create.predecessor.room_id);
        }
        Ok(())
    }

    /// Reads results until the page is full, there are no more, or enough was passed over.
    async fn result_page(
        &self,
        snapshot: &mut Tx,
        views: &mut Views<'_>,
        (wanted, token): (&EventSearch, Option<SearchToken>),
        rooms: &[RoomNid],
    ) -> Result<ResultPage, Error> {
        let limit = wanted.limit.clamp(1, MAX_PAGE);
        let senders = searched_senders(wanted, token.as_ref());
        let mut after = token.as_ref().map(|token| token.place);
        let (mut results, mut scanned): (Vec<Found>, usize) = (Vec::new(), 0);
        // With the first page all results are counted.
        let batch = match &token {
            Some(_) => (2 * limit as i64).min(BATCH_SIZE),
            None => BATCH_SIZE,
        };
        loop {
            let query = SearchQuery {
                language: &self.0.settings.search_language,
                term: &wanted.term,
                rooms,
                event_types: &wanted.event_types,
                senders: senders.as_deref(),
                by_rank: wanted.by_rank,
                after,
                limit: batch,
            };
            let hits = search::find(snapshot, &query).await?;
            let is_last = (hits.len() as i64) < batch;
            scanned += hits.len();
            after = hits.last().map(|hit| hit.place).or(after);
            let found = visible(snapshot, views, hits).await?;
            let found = found.into_iter();
            results.extend(found.filter(|found| wanted.filter.allows_event(&found.event.pdu)));
            if is_last || results.len() >= limit || scanned >= MAX_SCANNED {
                let seen = results.len() as u64;
                results.truncate(limit);
                let reached = match results.last() {
                    Some(last) => Some(last.hit.place),
                    // Nothing was found in all that was passed over.
                    None => after.filter(|_| !is_last),
                };
                let count = token.as_ref().map_or(seen, |token| token.count);
                let group = token.and_then(|token| token.group);
                let next = reached.map(|place| SearchToken {
                    place,
                    count,
                    group,
                });
                return Ok(ResultPage {
                    results,
                    count,
                    next,
                });
            }
        }
    }
}

/// Whose events are searched; none: those of all.
fn searched_senders(wanted: &EventSearch, token: Option<&SearchToken>) -> Option<Vec<OwnedUserId>> {
    let of_group = token.and_then(SearchToken::sender);
    match (of_group, &wanted.senders) {
        (Some(sender), Some(senders)) if !senders.contains(&sender) => Some(Vec::new()),
        (Some(sender), _) => Some(vec![sender]),
        (None, senders) => senders.clone(),
    }
}

/// All that a response is made of.
struct Results<'a> {
    page: &'a ResultPage,
    surroundings: &'a [Surroundings],
    views: &'a Views<'a>,
    aggregations: &'a Aggregations,
}

/// Those of the hits that the searcher may see, in their order.
async fn visible(
    snapshot: &mut Tx,
    views: &mut Views<'_>,
    hits: Vec<SearchHit>,
) -> Result<Vec<Found>, Error> {
    if hits.is_empty() {
        return Ok(Vec::new());
    }
    let nids: Vec<EventNid> = hits.iter().map(|hit| hit.place.event_nid).collect();
    let read = events::by_nids(snapshot, &nids).await?;
    views.look_up(snapshot, &read).await?;
    let read = read.into_iter().filter(|event| views.may_see(event));
    let mut read: HashMap<EventNid, StoredEvent> = read.map(|event| (event.nid, event)).collect();
    let found = hits.into_iter().filter_map(|hit| {
        let event = read.remove(&hit.place.event_nid)?;
        Some(Found { hit, event })
    });
    Ok(found.collect())
}

/// The events around each result that the searcher may see.
async fn surroundings(
    snapshot: &mut Tx,
    views: &mut Views<'_>,
    results: &[Found],
    context: SearchContext,
) -> Result<Vec<Surroundings>, Error> {
    let places: Vec<_> = results
        .iter()
        .map(|found| (found.event.room_nid, found.hit.place.order))
        .collect();
    let limit = |side: usize| side.min(MAX_CONTEXT) as i64;
    let limits = (limit(context.before), limit(context.after));
    let mut surroundings: Vec<Surroundings> =
        places.iter().map(|_| Surroundings::default()).collect();
    if places.is_empty() || limits == (0, 0) {
        return Ok(surroundings);
    }
    let around = search::around(snapshot, &places, limits).await?;
    let events: Vec<StoredEvent> = around.iter().map(|(_, event)| event.clone()).collect();
    views.look_up(snapshot, &events).await?;
    for (number, event) in around {
        let (Some(of), Some((_, order))) = (surroundings.get_mut(number), places.get(number))
        else {
            continue;
        };
        if !views.may_see(&event) {
            continue;
        }
        if event.history_order < Some(*order) {
            of.before.push(event);
        } else {
            of.after.push(event);
        }
    }
    Ok(surroundings)
}

/// The results by what groups them, in the order in which the groups come up.
fn groups(grouping: Grouping, results: &[Found]) -> Vec<(String, Vec<&Found>)> {
    let mut order = Vec::new();
    let mut groups: BTreeMap<String, Vec<&Found>> = BTreeMap::new();
    for found in results {
        let key = grouping.key_of(&found.event);
        if !groups.contains_key(&key) {
            order.push(key.clone());
        }
        groups.entry(key).or_default().push(found);
    }
    let groups = order.into_iter().filter_map(|key| {
        let results = groups.remove(&key)?;
        Some((key, results))
    });
    groups.collect()
}

impl Grouping {
    /// The name in requests and responses.
    fn name(self) -> &'static str {
        match self {
            Self::Room => "room_id",
            Self::Sender => "sender",
        }
    }

    fn key_of(self, event: &StoredEvent) -> String {
        match self {
            Self::Room => event.pdu.room_id().to_string(),
            Self::Sender => event.pdu.sender().to_string(),
        }
    }
}

/// Writes the groups, with tokens for the next page of each.
fn write_groups(json: &mut JsonWriter, groupings: &[Grouping], page: &ResultPage) {
    json.field("groups").object(|json| {
        for grouping in groupings {
            json.field(grouping.name()).object(|json| {
                for (number, (key, results)) in groups(*grouping, &page.results).iter().enumerate()
                {
                    json.field(key).object(|json| {
                        json.field("order").literal(number as u64);
                        let ids = results.iter().map(|found| found.event.pdu.event_id());
                        json.field("results")
                            .array(ids, |json, event_id| json.string(event_id.as_str()));
                        if let Some(last) = results.last() {
                            let token = SearchToken {
                                place: last.hit.place,
                                count: page.count,
                                group: Some((*grouping, key.clone())),
                            };
                            json.field("next_batch").string(&token.to_string());
                        }
                    });
                }
            });
        }
    });
}
