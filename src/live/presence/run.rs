//! The task behind presence: timers, and passing changes on to clients and other processes.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use ruma::{OwnedUserId, UserId};
use storage::{
    Change, Message,
    cluster::{PresenceMessage, SharedPresence},
    memberships, stream,
};
use tokio::time::{Instant, sleep};
use types::EphemeralPosition;

use super::{PresenceNotice, shares_room, store::Flush, user_presence::Rooms};
use crate::{
    Live, cache::LiveCache, load::LogRetention, notifications::Notifications, user::LastChanged,
};

/// How long to wait after the database has failed.
const RETRY: Duration = Duration::from_secs(1);
/// Of how many users the rooms are read at once.
const RESOLVED_AT_ONCE: usize = 500;
/// What a message to other processes may hold, in bytes; PostgreSQL takes 8,000.
const MAX_MESSAGE: usize = 7_700;
/// Up to how many members of rooms are visited for each user in memory, before it is cheaper to visit
/// the users.
const MEMBERS_PER_USER: usize = 8;

impl Live {
    /// Runs the timers of presence, and passes changes on.
    pub(crate) async fn run_presence(&self) {
        loop {
            let changed = self.0.presence_changed.notified();
            let due = self.0.presence.lock().next_due();
            let pause = due.saturating_sub(self.now_ms()).max(0);
            let pause = Duration::from_millis(pause.unsigned_abs());
            tokio::select! {
                () = sleep_until(pause) => {}
                () = changed => {}
            }
            self.0.presence.lock().run_timers(self.now_ms());
            self.flush_presence();
        }
    }

    fn flush_presence(&self) {
        let Flush {
            changed,
            announced,
            is_heartbeat,
            federated,
        } = self.0.presence.lock().flush(self.now_ms());
        self.tell_clients(&changed);
        if is_heartbeat || !announced.is_empty() {
            self.tell_processes(announced);
        }
        if let Some(notices) = &self.0.cache.read().presence_notices {
            for user_id in federated {
                // Whoever cannot keep up misses some.
                let _full = notices.try_send(PresenceNotice::Changed(user_id));
            }
        }
    }

    /// Gives changes their positions, and notifies the users who share a room.
    fn tell_clients(&self, changed: &[(OwnedUserId, Arc<Rooms>)]) {
        if changed.is_empty() {
            return;
        }
        let mut positions = Vec::with_capacity(changed.len());
        {
            let mut cache = self.0.cache.write();
            let mut store = self.0.presence.lock();
            for (user_id, _) in changed {
                let position = cache.ephemeral.next();
                store.record(user_id, position);
                positions.push(position);
            }
        }
        let mut notifications = Notifications::default();
        {
            let cache = self.0.cache.read();
            for ((user_id, rooms), position) in changed.iter().zip(positions) {
                cache.notify_sharing(user_id, rooms, position, &mut notifications);
            }
        }
        metrics::counter!("chancery_live_presence_changes_total").increment(changed.len() as u64);
        notifications.notify();
    }

    /// Sends something to the other processes, even if it is only that this one is there.
    pub(super) fn tell_processes(&self, users: Vec<SharedPresence>) {
        let process = self.0.database.process().number;
        for users in messages(users) {
            let message = PresenceMessage { process, users };
            self.0.database.publish(Message::Presence(message));
        }
    }

    /// Reads the rooms of users of whom only the presence is known.
    pub(crate) async fn resolve_presence_rooms(&self) {
        loop {
            let waits = self.0.presence_unresolved.notified();
            let users = self.0.presence.lock().unresolved(RESOLVED_AT_ONCE);
            if users.is_empty() {
                waits.await;
                continue;
            }
            if let Err(error) = self.load_presence_rooms(users).await {
                tracing::warn!(%error, "The rooms of users could not be read");
                sleep(RETRY).await;
            }
        }
    }

    async fn load_presence_rooms(&self, users: Vec<OwnedUserId>) -> Result<(), storage::Error> {
        let users: BTreeSet<OwnedUserId> = users.into_iter().collect();
        let retention = LogRetention::begin(self);
        let mut db = self.0.database.snapshot().await?;
        let position = stream::position(&mut db).await?;
        let mut rooms = memberships::joined_rooms_by_user(&mut db, &users).await?;
        db.commit().await?;
        {
            let cache = self.0.cache.write();
            for batch in &cache.log {
                let later = batch.changes.iter().filter(|(at, _)| *at > position);
                for (_, change) in later {
                    let Change::State(delta) = change else {
                        continue;
                    };
                    for (user_id, is_joined) in joins_and_leaves(&delta.changes) {
                        if !users.contains(user_id) {
                            continue;
                        }
                        let rooms = rooms.entry(user_id.to_owned()).or_default();
                        if is_joined {
                            rooms.insert(delta.room_nid);
                        } else {
                            rooms.remove(&delta.room_nid);
                        }
                    }
                }
            }
            let mut store = self.0.presence.lock();
            for user_id in &users {
                let rooms = rooms.remove(user_id).unwrap_or_default().into_iter();
                let rooms = rooms.map(|room_nid| (room_nid, EphemeralPosition::default()));
                store.resolve(user_id, rooms.collect());
            }
        }
        drop(retention);
        self.0.presence_changed.notify_one();
        Ok(())
    }
}

impl LiveCache {
    /// Notifies the users in memory who share a room with a user, except for the user.
    fn notify_sharing(
        &self,
        user_id: &UserId,
        rooms: &Rooms,
        position: EphemeralPosition,
        notifications: &mut Notifications,
    ) {
        let mut notify = |last_changed: &Arc<LastChanged>| {
            last_changed.advance_presence(position);
            notifications.add(last_changed);
        };
        let members = || {
            rooms
                .keys()
                .filter_map(|room_nid| self.joined.get(room_nid))
        };
        let visits: usize = members().map(HashMap::len).sum();
        if visits <= self.users.len() * MEMBERS_PER_USER {
            let members = members().flatten().filter(|(member, _)| *member != user_id);
            members.for_each(|(_, last_changed)| notify(last_changed));
            return;
        }
        // Users who share many rooms are found in the first of them.
        for (other, entry) in &self.users {
            let user = entry.user.as_ref().filter(|_| other != user_id);
            if user.is_some_and(|user| shares_room(user, rooms)) {
                notify(&entry.last_changed);
            }
        }
    }
}

async fn sleep_until(pause: Duration) {
    tokio::time::sleep_until(Instant::now() + pause).await;
}

/// Who joined and who left by changes of the state of a room.
pub(crate) fn joins_and_leaves(
    changes: &[stream::StateChange],
) -> impl Iterator<Item = (&UserId, bool)> {
    use ruma::events::room::member::MembershipState::Join;
    changes.iter().filter_map(|change| {
        let (before, after) = change.memberships()?;
        let (was_joined, is_joined) = (before == Some(Join), after == Some(Join));
        let user_id = change.event()?.state_key()?;
        let user_id = <&UserId>::try_from(user_id).ok()?;
        (was_joined != is_joined).then_some((user_id, is_joined))
    })
}

/// Divides what other processes are told into messages; one if there is nothing.
fn messages(users: Vec<SharedPresence>) -> Vec<Vec<SharedPresence>> {
    let (mut messages, mut size) = (vec![Vec::new()], 0);
    for user in users {
        // Characters of JSON take six bytes at the most.
        let status_msg = user.status_msg.as_deref().unwrap_or_default();
        let bytes = 200 + 6 * (user.user_id.as_str().len() + status_msg.len());
        if size > 0 && size + bytes > MAX_MESSAGE {
            messages.push(Vec::new());
            size = 0;
        }
        size += bytes;
        if let Some(last) = messages.last_mut() {
            last.push(user);
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use storage::cluster::PresenceState;

    use super::*;

    #[test]
    fn messages_are_as_small_as_postgresql_wants_them() {
        let shared = |status_msg: &str| SharedPresence {
            user_id: user_id!("@alice:test.localhost").to_owned(),
            state: PresenceState::Online,
            currently_active: true,
            last_active: Some(1_700_000_000_000),
            status_msg: Some(status_msg.to_owned()),
            status_set: 1_700_000_000_000,
            is_remote: true,
        };
        let long = "\u{1}".repeat(super::super::MAX_STATUS_MSG);
        let users: Vec<_> = (0..100)
            .map(|_| shared("at work"))
            .chain([shared(&long)])
            .collect();
        let messages = messages(users.clone());
        assert_eq!(messages.iter().map(Vec::len).sum::<usize>(), users.len());
        for users in messages {
            let message = Message::Presence(PresenceMessage {
                process: 1 << 40,
                users,
            });
            assert!(serde_json::to_string(&message).unwrap().len() < 7_900);
        }
    }
}
