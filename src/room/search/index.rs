//! Makes events searchable, behind those who send them.

use std::{collections::BTreeMap, time::Duration};

use storage::{
    Change, ChangeKind, StoredEvent,
    search::{self, SearchableEvent, searched_text},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use types::EventNid;
use worker::{Batch, Follower, Start};

use crate::{Error, Rooms};

/// How many positions are read from the tables at once.
const READ_AT_ONCE: u16 = 200;
/// Events of the backlog that become searchable in one transaction.
const BACKLOG_BATCH: i64 = 200;
/// How often it is looked whether there is a backlog.
const BACKLOG_PAUSE: Duration = Duration::from_secs(10);

impl Rooms {
    /// Makes all events of the stream searchable, from its beginning, until it is told to stop; of several
    /// processes one does. In another language than before it begins anew.
    pub async fn index_events(&self, stopping: CancellationToken) -> Result<(), Error> {
        let mut db = self.0.database.acquire().await?;
        search::set_language(&mut db, &self.0.settings.search_language).await?;
        drop(db);
        let mut follower = Follower::builder(search::FOLLOWER)
            .kinds(&[ChangeKind::Event])
            .from(Start::Beginning)
            .read_at_once(READ_AT_ONCE)
            .exclusive()
            .build(self.0.database.clone())
            .await?;
        while let Some(batch) = stopping.run_until_cancelled(follower.next()).await {
            self.index_batch(&mut follower, batch?).await?;
        }
        Ok(follower.release().await?)
    }

    async fn index_batch(&self, follower: &mut Follower, batch: Batch) -> Result<(), Error> {
        let mut searchable: BTreeMap<EventNid, SearchableEvent> = BTreeMap::new();
        let mut gone = Vec::new();
        for (_, change) in &batch.changes {
            let Change::Event(change) = change else {
                continue;
            };
            if let Some(redacted) = &change.redacts {
                searchable.remove(&redacted.event_nid);
                gone.push(redacted.event_nid);
            }
            searchable.extend(searchable_event(&change.event));
        }
        if searchable.is_empty() && gone.is_empty() {
            return Ok(follower.skip(batch).await?);
        }
        let searchable: Vec<SearchableEvent> = searchable.into_values().collect();
        let mut tx = self.0.database.begin().await?;
        search::insert(&mut tx, &self.0.settings.search_language, &searchable).await?;
        search::remove(&mut tx, &gone).await?;
        follower.commit(tx, batch).await?;
        count(searchable.len());
        Ok(())
    }

    /// Makes events searchable that were filled into the history, until it is told to stop.
    pub async fn index_backlog(&self, stopping: CancellationToken) -> Result<(), Error> {
        loop {
            if self.index_from_backlog().await? > 0 {
                continue;
            }
            let pause = stopping.run_until_cancelled(sleep(BACKLOG_PAUSE));
            if pause.await.is_none() {
                return Ok(());
            }
        }
    }

    /// Makes some of them searchable; returns how many were looked at.
    async fn index_from_backlog(&self) -> Result<usize, Error> {
        let mut tx = self.0.database.begin().await?;
        let events = search::take_backlog(&mut tx, BACKLOG_BATCH).await?;
        let searchable = events.iter().filter_map(searchable_event);
        let searchable: Vec<SearchableEvent> = searchable.map(|(_, event)| event).collect();
        if !searchable.is_empty() {
            search::insert(&mut tx, &self.0.settings.search_language, &searchable).await?;
        }
        tx.commit().await?;
        count(searchable.len());
        Ok(events.len())
    }
}

fn searchable_event(event: &StoredEvent) -> Option<(EventNid, SearchableEvent)> {
    if !event.is_accepted() || event.redacted_because.is_some() {
        return None;
    }
    let searchable = SearchableEvent {
        event_nid: event.nid,
        room_nid: event.room_nid,
        text: searched_text(&event.pdu)?,
    };
    Some((event.nid, searchable))
}

fn count(events: usize) {
    metrics::counter!("chancery_room_searchable_events_total").increment(events as u64);
}
