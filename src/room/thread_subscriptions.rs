//! Subscriptions of users to threads (MSC4306).

use ruma::{EventId, RoomId, UserId};
use storage::{
    StoredEvent,
    thread_subscriptions::{self as subscriptions, Subscribed, ThreadOfUser, ThreadSubscription},
};

use crate::{Error, Reader, Rooms};

/// The most changes on a page.
const MAX_PAGE: usize = 100;

/// Which changes of subscriptions are asked for, from the last one backwards.
#[derive(Clone, Copy, Debug, Default)]
pub struct SubscriptionsQuery {
    /// Only those before this change.
    pub before: Option<i64>,
    /// Only those after this change.
    pub after: Option<i64>,
    /// How many at the most.
    pub limit: Option<usize>,
}

/// Changes of subscriptions, the last one first.
#[derive(Clone, Debug)]
pub struct SubscriptionsPage {
    /// The changes.
    pub changes: Vec<ThreadSubscription>,
    /// The change before which there are more.
    pub end: Option<i64>,
}

impl Rooms {
    /// Whether the reader's subscription to a thread is an automatic one.
    pub async fn thread_subscription(
        &self,
        room_id: &RoomId,
        reader: Reader<'_>,
        root: &EventId,
    ) -> Result<bool, Error> {
        let (root, _) = self.visible_event(room_id, reader, root).await?;
        let mut db = self.0.database.acquire().await?;
        let found = subscriptions::find(&mut db, thread(reader, &root)).await?;
        found.ok_or(Error::NotSubscribed)
    }

    /// Subscribes the reader to a thread; automatically, if `cause` names an event of the thread for which a
    /// client does so.
    pub async fn subscribe_to_thread(
        &self,
        room_id: &RoomId,
        reader: Reader<'_>,
        root: &EventId,
        cause: Option<&EventId>,
    ) -> Result<(), Error> {
        let (root_event, _) = self.visible_event(room_id, reader, root).await?;
        let cause = match cause {
            Some(cause) => Some(self.event_of_thread(room_id, reader, root, cause).await?),
            None => None,
        };
        // What was fetched of the past came before everything that the user did.
        let position = cause.map(|cause| cause.position.unwrap_or_default());
        let limits = &self.0.settings.limits;
        let limit = i64::from(limits.thread_subscriptions_per_user);
        let subscribed = {
            let mut db = self.0.database.acquire().await?;
            let thread = thread(reader, &root_event);
            subscriptions::subscribe(&mut db, thread, position, limit).await?
        };
        match subscribed {
            Subscribed::Yes => Ok(()),
            Subscribed::UnsubscribedSince => Err(Error::UnsubscribedSince),
            Subscribed::TooMany => Err(limits.too_many_thread_subscriptions().into()),
        }
    }

    /// Ends the reader's subscription to a thread, if there is one.
    pub async fn unsubscribe_from_thread(
        &self,
        room_id: &RoomId,
        reader: Reader<'_>,
        root: &EventId,
    ) -> Result<(), Error> {
        let (root, _) = self.visible_event(room_id, reader, root).await?;
        let mut db = self.0.database.acquire().await?;
        Ok(subscriptions::unsubscribe(&mut db, thread(reader, &root)).await?)
    }

    /// The last changes of a user's subscriptions (MSC4308).
    pub async fn thread_subscriptions(
        &self,
        user_id: &UserId,
        query: SubscriptionsQuery,
    ) -> Result<SubscriptionsPage, Error> {
        let between = (
            query.after.unwrap_or_default(),
            query.before.unwrap_or(i64::MAX),
        );
        let limit = query.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let mut changes = {
            let mut db = self.0.database.acquire().await?;
            subscriptions::changes(&mut db, user_id, between, limit as i64 + 1).await?
        };
        let has_more = changes.len() > limit;
        changes.truncate(limit);
        let last = changes.last().filter(|_| has_more);
        Ok(SubscriptionsPage {
            end: last.map(|change| change.bump_stamp),
            changes,
        })
    }

    async fn event_of_thread(
        &self,
        room_id: &RoomId,
        reader: Reader<'_>,
        root: &EventId,
        event_id: &EventId,
    ) -> Result<StoredEvent, Error> {
        let (event, _) = self.visible_event(room_id, reader, event_id).await?;
        let relation = event.pdu.relation();
        let is_here =
            relation.is_some_and(|relation| relation.is_thread() && *relation.event_id == *root);
        if is_here {
            Ok(event)
        } else {
            Err(Error::NotInThread)
        }
    }
}

fn thread<'a>(reader: Reader<'a>, root: &StoredEvent) -> ThreadOfUser<'a> {
    ThreadOfUser {
        user_id: reader.user_id,
        room_nid: root.room_nid,
        root_nid: root.nid,
    }
}
