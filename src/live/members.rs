//! The members of a room, their counts and the heroes: what the room summary is made of.

use std::sync::Arc;

use imbl::OrdMap;
use ruma::{OwnedUserId, UserId, events::room::member::MembershipState};
use types::{EventNid, StateKeyNid};

/// Member counts of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberCounts {
    /// Joined members.
    pub joined: u64,
    /// Invited members.
    pub invited: u64,
}

impl MemberCounts {
    fn add(&mut self, membership: Code) {
        match membership {
            Code::Join => self.joined += 1,
            Code::Invite => self.invited += 1,
            _ => {}
        }
    }

    fn remove(&mut self, membership: Code) {
        match membership {
            Code::Join => self.joined = self.joined.saturating_sub(1),
            Code::Invite => self.invited = self.invited.saturating_sub(1),
            _ => {}
        }
    }
}

/// A membership in one byte. What is not understood counts as `leave`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Join,
    Invite,
    Knock,
    Leave,
    Ban,
}

impl From<Option<MembershipState>> for Code {
    fn from(membership: Option<MembershipState>) -> Self {
        match membership {
            Some(MembershipState::Join) => Self::Join,
            Some(MembershipState::Invite) => Self::Invite,
            Some(MembershipState::Knock) => Self::Knock,
            Some(MembershipState::Ban) => Self::Ban,
            _ => Self::Leave,
        }
    }
}

/// A user with a member event in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The number of the state key.
    pub key: StateKeyNid,
    /// The number of the member event.
    pub event_nid: EventNid,
    membership: Code,
}

impl Member {
    pub(crate) fn new(
        key: StateKeyNid,
        event_nid: EventNid,
        membership: Option<MembershipState>,
    ) -> Self {
        Self {
            key,
            event_nid,
            membership: membership.into(),
        }
    }

    /// The membership.
    pub fn membership(&self) -> MembershipState {
        match self.membership {
            Code::Join => MembershipState::Join,
            Code::Invite => MembershipState::Invite,
            Code::Knock => MembershipState::Knock,
            Code::Leave => MembershipState::Leave,
            Code::Ban => MembershipState::Ban,
        }
    }

    fn is_current(&self) -> bool {
        matches!(self.membership, Code::Join | Code::Invite)
    }
}

/// The members of a room by user id; a clone shares its structure.
#[derive(Clone, Debug, Default)]
pub struct MemberMap {
    users: OrdMap<Arc<str>, Member>,
    counts: MemberCounts,
    /// The size of all user ids together.
    text_bytes: usize,
}

impl MemberMap {
    /// A user's member event.
    pub fn get(&self, user_id: &str) -> Option<&Member> {
        self.users.get(user_id)
    }

    /// All users with a member event, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Member)> {
        self.users
            .iter()
            .map(|(user_id, member)| (&**user_id, member))
    }

    /// How many users have a member event.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The counts.
    pub fn counts(&self) -> MemberCounts {
        self.counts
    }

    pub(crate) fn insert(&mut self, user_id: &str, member: Member) {
        self.counts.add(member.membership);
        if let Some(known) = self.users.get_mut(user_id) {
            self.counts.remove(known.membership);
            *known = member;
        } else {
            self.text_bytes += user_id.len();
            self.users.insert(user_id.into(), member);
        }
    }

    pub(crate) fn remove(&mut self, user_id: &str) {
        if let Some(gone) = self.users.remove(user_id) {
            self.counts.remove(gone.membership);
            self.text_bytes -= user_id.len();
        }
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn weight(&self) -> usize {
        // A text is allocated with two counters; the nodes of the tree are half empty at the worst.
        const TEXT: usize = 24;
        self.users.len() * (2 * size_of::<(Arc<str>, Member)>() + TEXT) + self.text_bytes
    }
}

/// The most heroes in a summary.
const MAX_HEROES: usize = 5;

/// The earliest members of a room, in the order in which their member events came to this server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heroes {
    /// Joined or invited: one more than returned, since a user is not a hero for itself.
    current: Vec<OwnedUserId>,
    /// Left or banned.
    former: Vec<OwnedUserId>,
}

impl Heroes {
    pub(crate) fn of(members: &MemberMap) -> Self {
        let earliest = |current: bool| {
            let group = members
                .iter()
                .filter(|(_, member)| member.is_current() == current);
            earliest(group)
        };
        Self {
            current: earliest(true),
            former: earliest(false),
        }
    }

    /// Up to five users other than the reader: current members, or else former ones.
    pub fn for_reader(&self, reader: &UserId) -> Vec<&UserId> {
        let current = others(&self.current, reader);
        if current.is_empty() {
            others(&self.former, reader)
        } else {
            current
        }
    }
}

fn others<'a>(users: &'a [OwnedUserId], reader: &UserId) -> Vec<&'a UserId> {
    users
        .iter()
        .map(|user_id| &**user_id)
        .filter(|user_id| *user_id != reader)
        .take(MAX_HEROES)
        .collect()
}

/// The users with the lowest numbers, however many there are.
fn earliest<'m>(members: impl Iterator<Item = (&'m str, &'m Member)>) -> Vec<OwnedUserId> {
    let mut first: Vec<(EventNid, &UserId)> = Vec::with_capacity(MAX_HEROES + 2);
    for (user_id, member) in members {
        let is_later = |last: &(EventNid, &UserId)| last.0 <= member.event_nid;
        if first.len() > MAX_HEROES && first.last().is_some_and(is_later) {
            continue;
        }
        let Ok(user_id) = <&UserId>::try_from(user_id) else {
            continue;
        };
        let place = first.partition_point(is_later);
        first.insert(place, (member.event_nid, user_id));
        first.truncate(MAX_HEROES + 1);
    }
    first
        .into_iter()
        .map(|(_, user_id)| user_id.to_owned())
        .collect()
}
