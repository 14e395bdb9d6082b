//! Typing users: kept in memory only, expired by one timer for all rooms.
//!
//! The process that serves a request of a user owns an entry. It announces that the entry begins,
//! repeats that while the user goes on, and announces that it ends, whatever ended it: the others
//! receive the announcements of a process in their order. A process that is asked to stop a user
//! announces that, even if it has no entry, since the announcement of one may be on its way;
//! their own entries end, too, and they announce that in turn. An entry whose owner is gone
//! expires after [`MAX_TYPING`].
//!
//! Spec: client-server, "Typing Notifications".

use std::time::Duration;

use ruma::{OwnedUserId, RoomId, UserId, events::room::member::MembershipState};
use storage::{
    Message, PeerEvent,
    cluster::{Typing, TypingMessage},
};
use tokio::{sync::mpsc, time::Instant};
use types::{EphemeralPosition, RoomNid};

use crate::{
    Live,
    cache::LiveCache,
    notifications::Notifications,
    typing_users::{EndedTyping, MAX_TYPING, TypingUsers},
};

impl Live {
    /// Sets a user as typing in a room for the given time, or as no longer typing. Returns `false`,
    /// without effect, if the user is not joined to the room.
    pub async fn set_typing(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        typing: Option<Duration>,
    ) -> Result<bool, storage::Error> {
        let subscription = self.subscribe(user_id).await?;
        let mut notifications = Notifications::default();
        {
            let mut cache = self.0.cache.write();
            let Some(room_nid) = cache.joined_room(user_id, room_id) else {
                return Ok(false);
            };
            if let Some(time) = typing {
                let limit = self.0.max_typing_users;
                cache.start_typing(room_nid, user_id, time, limit, &mut notifications);
            } else {
                cache.ask_to_stop_typing(room_nid, user_id, &mut notifications);
            }
            notifications.publish(&self.0.database);
        }
        drop(subscription);
        notifications.notify();
        self.0.typing_changed.notify_one();
        Ok(true)
    }

    /// Sends what becomes of this process's entries: that a user types, which is repeated while that
    /// goes on, and that a user has stopped. What the receiver cannot keep up with is left out.
    pub fn notify_typing(&self, notices: mpsc::Sender<TypingMessage>) {
        self.0.cache.write().typing_notices = Some(notices);
    }

    /// Applies what other processes publish about typing users and presence, until it is cancelled.
    pub async fn follow_peers(&self) {
        let mut events = self.0.database.subscribe();
        // Messages from before were missed.
        self.apply_peer_event(&PeerEvent::Resync);
        while let Some(event) = events.next().await {
            self.apply_peer_event(&event);
        }
    }

    /// Applies a message of another process; to be called in the order of the messages. When some may
    /// have been missed, the entries of other processes end, and they are asked for them again.
    pub fn apply_peer_event(&self, event: &PeerEvent) {
        let mut notifications = Notifications::default();
        match event {
            PeerEvent::Message(message) => match &**message {
                Message::Typing(message) => self.apply_typing(message, &mut notifications),
                Message::RequestTyping => self.announce_typing(&mut notifications),
                Message::Presence(message) => return self.apply_presence(message),
                Message::RequestPresence => return self.announce_presence(),
                Message::TokensEnded(_) | Message::PusherSet(_) => return,
            },
            PeerEvent::Resync => {
                self.0.database.publish(Message::RequestTyping);
                self.request_presence();
                // The others announce again who is still typing.
                let mut cache = self.0.cache.write();
                cache.end_typing(&mut notifications, TypingUsers::end_at_peers);
            }
        }
        notifications.notify();
        self.0.typing_changed.notify_one();
    }

    fn apply_typing(&self, message: &TypingMessage, notifications: &mut Notifications) {
        let mut cache = self.0.cache.write();
        cache.apply_typing_message(message, self.0.max_typing_users, notifications);
        notifications.publish(&self.0.database);
    }

    /// Announces the entries of this process, which another one asks for.
    fn announce_typing(&self, notifications: &mut Notifications) {
        let cache = self.0.cache.read();
        for (room_nid, list) in &cache.typing {
            for user_id in list.local() {
                cache.announce(*room_nid, user_id, Typing::Started, notifications);
            }
        }
        notifications.publish(&self.0.database);
    }

    /// Removes typing users whose time has expired.
    pub(crate) async fn expire_typing(&self) {
        loop {
            let next = self.0.cache.read().next_expiry();
            let changed = self.0.typing_changed.notified();
            let Some(next) = next else {
                changed.await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = changed => continue,
            }
            let mut notifications = Notifications::default();
            {
                let mut cache = self.0.cache.write();
                let now = Instant::now();
                cache.end_typing(&mut notifications, |list| list.expire(now));
                notifications.publish(&self.0.database);
            }
            notifications.notify();
        }
    }
}

impl LiveCache {
    /// The room, if the user is in it, or may be: of a room whose members are not known, users of
    /// servers that are said to be in it.
    fn joined_room(&self, user_id: &UserId, room_id: &RoomId) -> Option<RoomNid> {
        let user = self.users.get(user_id)?.user.as_ref()?;
        if let Some(room) = user.room_by_id(room_id) {
            return (room.membership == MembershipState::Join).then_some(room.room_nid);
        }
        let room_nid = self.room_nid(room_id)?;
        let mut stated = self.state(room_nid)?.stated_servers();
        let is_stated = stated.any(|server| server == user_id.server_name());
        is_stated.then_some(room_nid)
    }

    fn start_typing(
        &mut self,
        room_nid: RoomNid,
        user_id: &UserId,
        time: Duration,
        limit: usize,
        notifications: &mut Notifications,
    ) {
        let now = Instant::now();
        let list = self.typing.entry(room_nid).or_default();
        let change = list.start(user_id, now, now + time.min(MAX_TYPING), limit);
        if change.is_changed {
            let position = self.ephemeral.next();
            self.record_typing_change(room_nid, position, notifications);
        }
        if change.must_announce {
            self.announce(room_nid, user_id, Typing::Started, notifications);
        }
    }

    /// Applies the message of another process.
    fn apply_typing_message(
        &mut self,
        message: &TypingMessage,
        limit: usize,
        notifications: &mut Notifications,
    ) {
        let TypingMessage {
            process,
            room_nid,
            user_id,
            typing,
            position,
        } = message;
        let list = self.typing.get_mut(room_nid);
        let ended = match typing {
            Typing::Started => {
                // The owner announces a user that goes on typing again by then.
                let until = Instant::now() + MAX_TYPING;
                let list = self.typing.entry(*room_nid).or_default();
                EndedTyping {
                    is_changed: list.start_at_peer(user_id, *process, until, limit),
                    local: Vec::new(),
                }
            }
            Typing::Stopped => list.map(|list| list.stop(user_id)).unwrap_or_default(),
            Typing::Ended => list
                .map(|list| list.end_at_peer(user_id, *process))
                .unwrap_or_default(),
        };
        if ended.is_changed {
            let position = self.ephemeral.next_after(*position);
            self.record_typing_change(*room_nid, position, notifications);
        }
        self.announce_ended(*room_nid, &ended.local, notifications);
    }

    /// Ends what entries there are of a user, and asks the other processes to do the same. Other servers
    /// are told only if there was one: whoever has another one tells them in turn.
    fn ask_to_stop_typing(
        &mut self,
        room_nid: RoomNid,
        user_id: &UserId,
        notifications: &mut Notifications,
    ) {
        let list = self.typing.get_mut(&room_nid);
        let ended = list.map(|list| list.stop(user_id)).unwrap_or_default();
        self.record_ended(room_nid, &ended, notifications);
        self.ephemeral.next();
        let message = self.typing_message(room_nid, user_id, Typing::Stopped);
        if ended.is_changed {
            self.notice(&message);
        }
        notifications.announce(Message::Typing(message));
    }

    /// Adds a message to the other processes about this process's entry of a user.
    fn announce(
        &self,
        room_nid: RoomNid,
        user_id: &UserId,
        typing: Typing,
        notifications: &mut Notifications,
    ) {
        let message = self.typing_message(room_nid, user_id, typing);
        // Another process may still have an entry of the user.
        let list = self.typing.get(&room_nid);
        let goes_on = list.is_some_and(|list| list.contains(user_id));
        if typing == Typing::Started || !goes_on {
            self.notice(&message);
        }
        notifications.announce(Message::Typing(message));
    }

    fn typing_message(&self, room_nid: RoomNid, user_id: &UserId, typing: Typing) -> TypingMessage {
        let position = match typing {
            // Perhaps nothing changed here.
            Typing::Stopped => Some(self.ephemeral.last()),
            Typing::Started | Typing::Ended => self.typing.get(&room_nid).map(|list| list.position),
        };
        TypingMessage {
            process: self.ephemeral.process(),
            room_nid,
            user_id: user_id.to_owned(),
            typing,
            position: position.unwrap_or_default(),
        }
    }

    /// Tells whoever tells other servers; what that cannot keep up with is left out.
    fn notice(&self, message: &TypingMessage) {
        if let Some(notices) = &self.typing_notices {
            let _full = notices.try_send(message.clone());
        }
    }

    fn announce_ended(
        &self,
        room_nid: RoomNid,
        users: &[OwnedUserId],
        notifications: &mut Notifications,
    ) {
        for user_id in users {
            self.announce(room_nid, user_id, Typing::Ended, notifications);
        }
    }

    fn record_typing_change(
        &mut self,
        room_nid: RoomNid,
        position: EphemeralPosition,
        notifications: &mut Notifications,
    ) {
        if let Some(list) = self.typing.get_mut(&room_nid) {
            list.position = position;
        }
        self.record_typing(room_nid, position);
        notifications.add_members(self, room_nid, |last_changed| {
            last_changed.advance_ephemeral(position);
        });
    }

    fn record_ended(
        &mut self,
        room_nid: RoomNid,
        ended: &EndedTyping,
        notifications: &mut Notifications,
    ) {
        if ended.is_changed {
            let position = self.ephemeral.next();
            self.record_typing_change(room_nid, position, notifications);
        }
    }

    fn next_expiry(&self) -> Option<Instant> {
        self.typing
            .values()
            .filter_map(TypingUsers::next_expiry)
            .min()
    }

    /// Ends entries of each list by `end`, and announces those of this process.
    fn end_typing(
        &mut self,
        notifications: &mut Notifications,
        end: impl Fn(&mut TypingUsers) -> EndedTyping,
    ) {
        let lists = self.typing.iter_mut();
        let ended: Vec<_> = lists
            .map(|(room_nid, list)| (*room_nid, end(list)))
            .collect();
        for (room_nid, ended) in ended {
            self.record_ended(room_nid, &ended, notifications);
            self.announce_ended(room_nid, &ended.local, notifications);
        }
    }

    /// Removes a user that left the room. Other processes see that in the stream, perhaps before
    /// they receive the announcement of an entry: its end is announced after it.
    pub(crate) fn stop_typing(
        &mut self,
        room_nid: RoomNid,
        user_id: &UserId,
        notifications: &mut Notifications,
    ) {
        let Some(list) = self.typing.get_mut(&room_nid) else {
            return;
        };
        let ended = list.stop(user_id);
        self.record_ended(room_nid, &ended, notifications);
        self.announce_ended(room_nid, &ended.local, notifications);
    }
}
