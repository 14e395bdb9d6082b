//! What of the presence of others is new to a client.

use std::sync::Arc;

use ruma::{OwnedUserId, events::room::member::MembershipState};
use types::{EphemeralPosition, RoomNid, SyncToken};

use super::{
    Presence, PresenceState, shares_room, shown,
    user_presence::{Rooms, UserPresence},
};
use crate::{Live, View};

/// The presence of a user, for a client.
#[derive(Clone, Debug)]
pub struct PresenceUpdate {
    /// The user.
    pub user_id: OwnedUserId,
    /// The presence.
    pub presence: Presence,
}

/// A user of whom a client may be told something.
struct Candidate {
    update: PresenceUpdate,
    rooms: Arc<Rooms>,
    changed: EphemeralPosition,
}

impl Candidate {
    fn new(user_id: &OwnedUserId, user: &UserPresence, now: i64) -> Option<Self> {
        Some(Self {
            update: PresenceUpdate {
                user_id: user_id.clone(),
                presence: shown(user, now),
            },
            rooms: user.rooms.clone()?,
            changed: user.changed,
        })
    }

    fn is_online(&self) -> bool {
        self.update.presence.state != PresenceState::Offline
    }
}

impl Live {
    /// The presence of the users who share a room with the user of a view, the user included: of those
    /// who are not offline; after a token what changed, and who shares a room since.
    pub fn presence_updates(&self, view: &View, since: Option<SyncToken>) -> Vec<PresenceUpdate> {
        let mut candidates = self.presence_candidates(view, since);
        candidates.retain(|candidate| !view.user.ignores(&candidate.update.user_id));
        let joined: Vec<RoomNid> = since
            .map(|since| newly_joined(view, since))
            .unwrap_or_default();
        let is_told = |candidate: &Candidate| {
            let Candidate {
                update,
                rooms,
                changed,
            } = candidate;
            let has_changed = since.is_none_or(|since| *changed > since.ephemeral);
            if update.user_id == view.user.user_id() {
                return has_changed;
            }
            if has_changed {
                return shares_room(&view.user, rooms);
            }
            let is_new = |room_nid: &RoomNid, joined_at: EphemeralPosition| {
                since.is_some_and(|since| joined_at > since.ephemeral)
                    && view.user.is_joined(*room_nid)
            };
            candidate.is_online()
                && (joined.iter().any(|room_nid| rooms.contains_key(room_nid))
                    || rooms
                        .iter()
                        .any(|(room_nid, joined_at)| is_new(room_nid, *joined_at)))
        };
        candidates.retain(is_told);
        candidates
            .into_iter()
            .map(|candidate| candidate.update)
            .collect()
    }

    fn presence_candidates(&self, view: &View, since: Option<SyncToken>) -> Vec<Candidate> {
        let now = self.now_ms();
        let store = self.0.presence.lock();
        let mut candidates = Vec::new();
        if let Some(since) = since {
            let changed = store.changes.after(since.ephemeral);
            let changed = changed.filter_map(|user_id| Some((user_id, store.get(user_id)?)));
            let changed = changed.filter(|(_, user)| user.changed <= view.ephemeral);
            candidates.extend(changed.filter_map(|(id, user)| Candidate::new(id, user, now)));
            if newly_joined(view, since).is_empty() {
                return candidates;
            }
        }
        let is_listed = |user_id: &OwnedUserId| {
            let changed = store.changes.get(user_id);
            since.is_some_and(|since| changed.is_some_and(|changed| *changed > since.ephemeral))
        };
        let online = store
            .iter()
            .filter(|(user_id, user)| user.is_online() && !is_listed(user_id));
        candidates.extend(online.filter_map(|(id, user)| Candidate::new(id, user, now)));
        candidates
    }
}

/// The rooms of a view that its user has joined since.
fn newly_joined(view: &View, since: SyncToken) -> Vec<RoomNid> {
    let rooms = view
        .rooms
        .keys()
        .filter_map(|room_nid| view.user.room(*room_nid));
    let joined = rooms
        .filter(|room| room.membership == MembershipState::Join && room.position > since.stream);
    joined.map(|room| room.room_nid).collect()
}
