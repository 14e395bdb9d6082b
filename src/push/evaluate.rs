//! What a user is to be told: by the push rules, and by what the user has read.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use live::{Room, TimelineEvent, View, ViewQuery};
use parking_lot::Mutex;
use ruma::{OwnedUserId, events::room::member::MembershipState};
use storage::memberships::Membership;
use types::{EventNid, RoomNid};

use crate::{
    Error, Push, badge,
    changes::{ChangesByUser, UserChanges},
    notification::{EventDetails, Notification, tweaks},
};

/// How many users are evaluated at the same time; each may need a connection to the database.
const PARALLEL: usize = 4;

/// What a user's pushers are to send.
#[derive(Debug)]
pub(crate) struct UserPush {
    pub(crate) user_id: OwnedUserId,
    /// Unread notifications in all rooms.
    pub(crate) unread: u64,
    /// In order; none if only the number changed.
    pub(crate) notifications: Vec<Notification>,
}

/// What is told of the events of a batch, made for the first user.
#[derive(Debug, Default)]
pub(crate) struct KnownDetails(Mutex<HashMap<EventNid, Arc<EventDetails>>>);

impl Push {
    /// Finds out whom to tell what. All changes must be applied to the cache.
    pub(crate) async fn evaluate(&self, by_user: ChangesByUser) -> Result<Vec<UserPush>, Error> {
        let known = &KnownDetails::default();
        let evaluated = stream::iter(by_user)
            .map(|(user_id, changes)| self.evaluate_user(user_id, changes, known))
            .buffer_unordered(PARALLEL);
        let pushes: Vec<Option<UserPush>> = evaluated.try_collect().await?;
        Ok(pushes.into_iter().flatten().collect())
    }

    async fn evaluate_user(
        &self,
        user_id: OwnedUserId,
        changes: UserChanges,
        known_details: &KnownDetails,
    ) -> Result<Option<UserPush>, Error> {
        let live = &self.0.live;
        let subscription = live.subscribe(&user_id).await?;
        let in_rooms = |room: &Membership| {
            let is_member = matches!(
                room.membership,
                MembershipState::Join | MembershipState::Invite
            );
            is_member && changes.rooms.contains(&room.room_nid)
        };
        let query = ViewQuery {
            since: None,
            of: &in_rooms,
        };
        let view = live.view(&subscription, &query).await?;
        let mut events = unread(&view, &changes.events);
        if events.is_empty() && !changes.may_fall {
            return Ok(None);
        }
        let last = self.0.badges.get(&user_id);
        // With other rules all rooms are counted anew.
        let known = last.as_deref().filter(|_| !changes.has_new_settings);
        let badge = badge::count(live, &subscription, &view, known).await?;
        let has_changed = last.is_none_or(|last| last.total() != badge.total());
        // What is before an event that the user has sent is read, too.
        let is_invited = |event: &TimelineEvent| event.pdu().membership().is_some();
        events.retain(|(event, _)| badge.of_room(event.event().room_nid) > 0 || is_invited(event));
        let unread = badge.total();
        self.0.badges.insert(&user_id, Arc::new(badge));
        if events.is_empty() && !has_changed {
            return Ok(None);
        }
        let mut notifications = Vec::with_capacity(events.len());
        for (event, tweaks) in events {
            let Some(room) = view.rooms.get(&event.event().room_nid) else {
                continue;
            };
            let details = self.details(room, &event, known_details).await?;
            notifications.push(Notification {
                event,
                details,
                tweaks,
            });
        }
        Ok(Some(UserPush {
            user_id,
            unread,
            notifications,
        }))
    }

    /// What is told of an event beside itself.
    pub(crate) async fn details(
        &self,
        room: &Room,
        event: &TimelineEvent,
        known: &KnownDetails,
    ) -> Result<Arc<EventDetails>, Error> {
        let nid = event.event().nid;
        if let Some(details) = known.0.lock().get(&nid) {
            return Ok(Arc::clone(details));
        }
        let sender = room.state().members().get(event.pdu().sender().as_str());
        let sender = sender.map(|member| member.event_nid);
        let members = self.0.live.events(sender).await?;
        let sender = sender.and_then(|nid| members.get(&nid));
        let details = Arc::new(EventDetails::new(room, sender.map(|pdu| &**pdu)));
        known.0.lock().insert(nid, Arc::clone(&details));
        Ok(details)
    }
}

/// The events of the rooms of a view that notify the user and are not read, with their tweaks.
pub(crate) fn unread(
    view: &View,
    events: &[Arc<TimelineEvent>],
) -> Vec<(
    Arc<TimelineEvent>,
    serde_json::Map<String, serde_json::Value>,
)> {
    let mut notifiers: HashMap<RoomNid, _> = HashMap::new();
    let mut seen = HashSet::new();
    let mut unread = Vec::new();
    for event in events {
        let (nid, room_nid) = (event.event().nid, event.event().room_nid);
        let Some(room) = view.rooms.get(&room_nid) else {
            continue;
        };
        let notifier = notifiers
            .entry(room_nid)
            .or_insert_with(|| view.room_notifier(room));
        // The cached event is redacted when it was redacted since.
        let cached = room
            .timeline()
            .rev()
            .find(|cached| cached.event().nid == nid);
        let event = cached.unwrap_or(event);
        if let Some(notifier) = notifier
            && seen.insert(nid)
            && !notifier.is_read(event)
            && let Some(actions) = notifier.actions(event)
        {
            unread.push((Arc::clone(event), tweaks(actions)));
        }
    }
    unread
}
