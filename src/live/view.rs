//! A consistent view of the cache for one request: the user, and the rooms that changed.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

use event::Pdu;
use ruma::{OwnedRoomId, OwnedUserId, UserId, events::room::member::MembershipState};
use storage::{Error, memberships::Membership, rooms};
use types::{EphemeralPosition, EventNid, RoomNid, StreamPosition, SyncToken};

use crate::{
    Live,
    cache::LiveCache,
    load::LoadGuard,
    pins::RoomPins,
    room::Room,
    subscription::Subscription,
    user::{LastChanged, User},
};

/// Selects the rooms of a [`View`].
pub struct ViewQuery<'a> {
    /// Only rooms that changed after this token; all rooms if `None`.
    pub since: Option<SyncToken>,
    /// Only rooms whose membership satisfies this.
    pub of: &'a (dyn Fn(&Membership) -> bool + Sync),
}

/// A user and the selected rooms, all as of one position.
#[derive(Debug)]
pub struct View {
    /// The position: the view contains every change up to here, and none after.
    pub position: StreamPosition,
    /// The position of the ephemeral counter.
    pub ephemeral: EphemeralPosition,
    /// The user.
    pub user: Arc<User>,
    /// The selected rooms.
    pub rooms: HashMap<RoomNid, Arc<Room>>,
    /// The typing users of the selected rooms in which they changed.
    pub typing: HashMap<RoomNid, Vec<OwnedUserId>>,
    members: HashMap<EventNid, Arc<Pdu>>,
    pins: Option<RoomPins>,
}

impl View {
    /// The member event of the user in one of the selected rooms, or of the one who invited the user
    /// to it.
    pub fn member(&self, room: &Room, user_id: &UserId) -> Option<&Arc<Pdu>> {
        let member = room.state().members().get(user_id.as_str())?;
        self.members.get(&member.event_nid)
    }
}

/// The outcome of one attempt to take a view.
enum LookupOutcome {
    Found(Box<View>),
    /// The database must be asked whether these rooms changed.
    QueryChanges(Vec<RoomNid>),
    /// These rooms are not cached.
    LoadRooms(Vec<(RoomNid, OwnedRoomId)>),
    /// An entry is newer than the last applied position.
    AwaitPosition(StreamPosition),
    /// The user was evicted.
    LoadUser,
}

/// Which task loads the missing rooms.
enum ClaimOutcome<'a> {
    /// None: all are cached by now.
    AllCached,
    /// This task loads at least some of them.
    Claimed(LoadGuard<'a>),
    /// Other tasks load all of them.
    LoadingElsewhere,
}

/// What the database returned about rooms whose last change is not cached.
#[derive(Default)]
pub(crate) struct KnownChanges {
    changed: HashSet<RoomNid>,
    unchanged: HashSet<RoomNid>,
}

impl KnownChanges {
    /// Records which of the rooms that were asked for changed.
    pub(crate) fn insert(&mut self, changed: Vec<RoomNid>, asked: Vec<RoomNid>) {
        self.changed.extend(changed);
        self.unchanged.extend(asked);
    }
}

impl Live {
    /// Takes a view of a user and the selected rooms, all as of one position.
    ///
    /// No query if all are cached; otherwise a constant number of queries, however many rooms are
    /// selected.
    pub async fn view(
        &self,
        subscription: &Subscription,
        query: &ViewQuery<'_>,
    ) -> Result<View, Error> {
        let mut known_changes = KnownChanges::default();
        let mut pins = RoomPins::new(self);
        loop {
            let loaded = self.0.rooms_loaded.notified();
            tokio::pin!(loaded);
            loaded.as_mut().enable();
            let outcome = self.try_view(subscription.user_id(), query, &known_changes);
            match outcome {
                LookupOutcome::Found(mut view) => {
                    view.pins = Some(pins);
                    view.members = self.members(&view).await?;
                    return Ok(*view);
                }
                LookupOutcome::QueryChanges(room_nids) => {
                    let since = query.since.unwrap_or_default().stream;
                    let mut db = self.0.database.acquire().await?;
                    let changed = rooms::changed_since(&mut db, &room_nids, since).await?;
                    known_changes.insert(changed, room_nids);
                }
                LookupOutcome::LoadRooms(missing) => {
                    match self.claim(missing, &mut pins, query, subscription.user_id()) {
                        ClaimOutcome::AllCached => {}
                        ClaimOutcome::Claimed(claim) => self.load_rooms(claim, &mut pins).await?,
                        ClaimOutcome::LoadingElsewhere => loaded.await,
                    }
                }
                LookupOutcome::AwaitPosition(position) => self.wait_until_applied(position).await,
                LookupOutcome::LoadUser => self.load_user(subscription.user_id()).await?,
            }
        }
    }

    /// The member events that every view needs: the user's own, and of those who invited the user.
    /// No query if all are in memory.
    async fn members(&self, view: &View) -> Result<HashMap<EventNid, Arc<Pdu>>, Error> {
        let needed = view.rooms.iter().flat_map(|(room_nid, room)| {
            let membership = view.user.room(*room_nid);
            let is_invited = |room: &&Membership| room.membership == MembershipState::Invite;
            let inviter = membership.filter(is_invited).map(|room| &*room.sender);
            let users = inviter.into_iter().chain([view.user.user_id()]);
            users.filter_map(|user_id| room.state().members().get(user_id.as_str()))
        });
        let needed: HashSet<EventNid> = needed.map(|member| member.event_nid).collect();
        self.events(needed).await
    }

    fn try_view(
        &self,
        user_id: &UserId,
        query: &ViewQuery<'_>,
        known_changes: &KnownChanges,
    ) -> LookupOutcome {
        let cache = self.0.cache.read();
        let entry = cache.users.get(user_id);
        let Some((user, last_changed)) =
            entry.and_then(|entry| Some((entry.user.clone()?, &entry.last_changed)))
        else {
            return LookupOutcome::LoadUser;
        };
        let mut newest = user.loaded_at;
        let (mut cached, mut typing) = (HashMap::new(), HashMap::new());
        let (mut unknown, mut missing) = (Vec::new(), Vec::new());
        let candidates = cache.candidates(&user, last_changed, query);
        for room in candidates.into_iter().filter(|room| (query.of)(room)) {
            let room_nid = room.room_nid;
            let typing_users = cache.typing.get(&room_nid).filter(|typing| {
                query
                    .since
                    .is_none_or(|since| typing.position > since.ephemeral)
            });
            match (cache.is_wanted(room, query, known_changes), typing_users) {
                (Some(false), None) => continue,
                (None, None) => {
                    unknown.push(room_nid);
                    continue;
                }
                _ => {}
            }
            if let Some(typing_users) = typing_users {
                typing.insert(room_nid, typing_users.users().cloned().collect());
            } else if cache.may_have_missed_typing(room_nid, query) {
                typing.insert(room_nid, Vec::new());
            }
            let entry = cache.rooms.get(&room_nid);
            match entry.and_then(|entry| Some((entry, entry.room.as_ref()?))) {
                Some((entry, room)) => {
                    newest = newest.max(room.loaded_at).max(entry.state.loaded_at);
                    entry.used.store(cache.next_use(), Ordering::Relaxed);
                    cached.insert(room_nid, room.clone());
                }
                None => missing.push((room_nid, room.room_id.clone())),
            }
        }
        if !unknown.is_empty() {
            LookupOutcome::QueryChanges(unknown)
        } else if !missing.is_empty() {
            LookupOutcome::LoadRooms(missing)
        } else if newest > cache.position {
            LookupOutcome::AwaitPosition(newest)
        } else {
            LookupOutcome::Found(Box::new(View {
                position: cache.position,
                ephemeral: cache.ephemeral.last(),
                user,
                rooms: cached,
                members: HashMap::new(),
                typing,
                pins: None,
            }))
        }
    }

    /// Claims the missing rooms for loading, and pins the selected rooms that are already cached.
    fn claim(
        &self,
        missing: Vec<(RoomNid, OwnedRoomId)>,
        pins: &mut RoomPins,
        query: &ViewQuery<'_>,
        user_id: &UserId,
    ) -> ClaimOutcome<'_> {
        let mut cache = self.0.cache.write();
        let cache = &mut *cache;
        pins.forget(cache, missing.iter().map(|(room_nid, _)| *room_nid));
        if let Some(user) = cache
            .users
            .get(user_id)
            .and_then(|entry| entry.user.clone())
        {
            for room in user.rooms().filter(|room| (query.of)(room)) {
                pins.pin(cache, room.room_nid);
            }
        }
        let missing: Vec<_> = missing
            .into_iter()
            .filter(|(room_nid, _)| {
                let entry = cache.rooms.get(room_nid);
                entry.is_none_or(|entry| entry.room.is_none())
            })
            .collect();
        if missing.is_empty() {
            return ClaimOutcome::AllCached;
        }
        LoadGuard::new(self, cache, missing)
            .map_or(ClaimOutcome::LoadingElsewhere, ClaimOutcome::Claimed)
    }
}

impl LiveCache {
    /// The rooms of a user that the query may select: as few as what changed since its token, not all
    /// of them.
    pub(crate) fn candidates<'u>(
        &self,
        user: &'u User,
        last_changed: &LastChanged,
        query: &ViewQuery<'_>,
    ) -> Vec<&'u Membership> {
        let is_remembered = |since: &SyncToken| {
            since.stream >= self.started && since.ephemeral >= self.typing_started
        };
        let Some(since) = query.since.filter(is_remembered) else {
            return user.rooms().collect();
        };
        if last_changed.changed() <= since.stream
            && last_changed.changed_ephemeral() <= since.ephemeral
        {
            return Vec::new();
        }
        let changed = self.changes.after(since.stream);
        let changed = changed.chain(self.typing_changes.after(since.ephemeral));
        // Where more changed than the user has rooms, these are fewer. A room may be there twice.
        let all = user.rooms().len();
        let changed: Vec<RoomNid> = changed.take(all).copied().collect();
        if changed.len() == all {
            return user.rooms().collect();
        }
        let changed: HashSet<RoomNid> = changed.into_iter().collect();
        let rooms = changed.into_iter();
        rooms.filter_map(|room_nid| user.room(room_nid)).collect()
    }

    /// Whether users may have been typing in a room at the query's token of whom it is forgotten that
    /// they stopped.
    fn may_have_missed_typing(&self, room_nid: RoomNid, query: &ViewQuery<'_>) -> bool {
        let is_forgotten = |since: SyncToken| since.ephemeral < self.typing_started;
        query.since.is_some_and(is_forgotten) && !self.typing.contains_key(&room_nid)
    }

    /// Whether the query selects a room; `None` if only the database knows.
    pub(crate) fn is_wanted(
        &self,
        room: &Membership,
        query: &ViewQuery<'_>,
        known_changes: &KnownChanges,
    ) -> Option<bool> {
        let Some(since) = query.since else {
            return Some(true);
        };
        if room.position > since.stream {
            return Some(true);
        }
        if room.membership != MembershipState::Join {
            return Some(false);
        }
        let room_nid = room.room_nid;
        if known_changes.changed.contains(&room_nid) {
            return Some(true);
        }
        match self.last_change(room_nid) {
            Some(position) => Some(position > since.stream),
            None if since.stream >= self.started || known_changes.unchanged.contains(&room_nid) => {
                Some(false)
            }
            None => None,
        }
    }
}
