//! `/notifications`: the events that have notified a user, newest first.
//!
//! They are not stored, but found when they are asked for: the events of the user's rooms are read from
//! the newest on, and evaluated by the push rules as they are now. Spec: client-server, "Listing
//! Notifications".

use std::collections::{HashMap, HashSet};

use live::{Reader, Subscription, TimelineEvent, ViewQuery};
use ruma::{DeviceId, OwnedRoomId, UserId, events::room::member::MembershipState, push::Action};
use storage::events;
use types::{HistoryOrder, RoomNid};

use crate::{Error, SyncResponder};

/// How many events are read at once.
const READ_AT_ONCE: i64 = 100;
/// How often events are read for one page: a page may have fewer notifications than asked for, or none,
/// and still not be the last.
const MAX_READS: usize = 5;

/// Selects a page of notifications.
#[derive(Clone, Copy, Debug)]
pub struct NotificationQuery<'a> {
    /// Whose.
    pub user_id: &'a UserId,
    /// The device that asks.
    pub device_id: Option<&'a DeviceId>,
    /// Only what is before this place; all if there is none.
    pub before: Option<HistoryOrder>,
    /// How many.
    pub limit: usize,
    /// Whether only those with a highlight are wanted.
    pub only_highlights: bool,
}

/// An event that notified a user.
#[derive(Debug)]
pub struct NotifyingEvent {
    /// Its room.
    pub room_id: OwnedRoomId,
    /// What the push rule says.
    pub actions: Vec<Action>,
    /// Whether the user has read it.
    pub read: bool,
    /// When it was sent, in milliseconds since the epoch.
    pub ts: u64,
    /// The event in the format of `/sync`, JSON text.
    pub json: String,
}

/// A page of notifications.
#[derive(Debug, Default)]
pub struct NotificationPage {
    /// The notifications, newest first.
    pub notifications: Vec<NotifyingEvent>,
    /// What the next page is before; none if there is no more.
    pub next: Option<HistoryOrder>,
}

impl SyncResponder {
    /// A page of the notifications of a user in the rooms that the user is in, since the user joined them.
    #[tracing::instrument(name = "sync.notifications", skip_all, fields(user.id = %query.user_id), err(level = "debug"))]
    pub async fn notifications(
        &self,
        query: NotificationQuery<'_>,
    ) -> Result<NotificationPage, Error> {
        let live = &self.0.live;
        live.wait_until_applied(self.0.database.committed()).await;
        let subscription = live.subscribe(query.user_id).await?;
        let no_rooms = ViewQuery {
            since: None,
            of: &|_| false,
        };
        let user = live.view(&subscription, &no_rooms).await?.user;
        let joined = user
            .rooms()
            .filter(|room| room.membership == MembershipState::Join);
        let rooms: Vec<(RoomNid, HistoryOrder)> = joined
            .map(|room| (room.room_nid, HistoryOrder::of(room.position)))
            .collect();
        let mut page = NotificationPage::default();
        let mut before = query.before.unwrap_or(HistoryOrder(i64::MAX));
        for _ in 0..MAX_READS {
            let mut db = self.0.database.acquire().await?;
            let events = events::newest(&mut db, &rooms, before, READ_AT_ONCE).await?;
            drop(db);
            let is_last = events.len() < usize::try_from(READ_AT_ONCE).unwrap_or_default();
            let events: Vec<TimelineEvent> = events.into_iter().map(TimelineEvent::new).collect();
            let is_full = self.add(&mut page, &query, &subscription, &events).await?;
            let last = events.last().and_then(|event| event.event().history_order);
            match last {
                _ if is_full => return Ok(page),
                Some(last) if !is_last => before = last,
                _ => {
                    page.next = None;
                    return Ok(page);
                }
            }
            page.next = Some(before);
        }
        Ok(page)
    }

    /// Adds the notifications among events, until the page is full; then the next one begins after the
    /// last that was added.
    async fn add(
        &self,
        page: &mut NotificationPage,
        query: &NotificationQuery<'_>,
        subscription: &Subscription,
        events: &[TimelineEvent],
    ) -> Result<bool, Error> {
        let rooms: HashSet<RoomNid> = events.iter().map(|event| event.event().room_nid).collect();
        let in_rooms = ViewQuery {
            since: None,
            of: &|room| rooms.contains(&room.room_nid),
        };
        let view = self.0.live.view(subscription, &in_rooms).await?;
        let reader = Reader {
            user_id: query.user_id,
            device_id: query.device_id,
        };
        let mut notifiers: HashMap<RoomNid, _> = HashMap::new();
        for event in events {
            let stored = event.event();
            let Some(room) = view.rooms.get(&stored.room_nid) else {
                continue;
            };
            let notifier = notifiers
                .entry(stored.room_nid)
                .or_insert_with(|| view.room_notifier(room));
            let Some(notifier) = notifier else {
                continue;
            };
            let Some(actions) = notifier.actions(event) else {
                continue;
            };
            if query.only_highlights && !actions.iter().any(Action::is_highlight) {
                continue;
            }
            let mut json = String::new();
            let per_reader = reader.per_reader(stored, "join", self.0.clock.now_ms());
            event.write(&mut json, per_reader);
            page.notifications.push(NotifyingEvent {
                room_id: room.room_id().clone(),
                actions: actions.to_vec(),
                read: notifier.is_read(event),
                ts: stored.pdu.origin_server_ts().get().into(),
                json,
            });
            if page.notifications.len() >= query.limit {
                page.next = stored.history_order;
                return Ok(true);
            }
        }
        Ok(false)
    }
}
