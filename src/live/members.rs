//! Member counts and heroes: what the room summary is made of.

use event::{Pdu, State};
use ruma::{OwnedUserId, UserId, events::room::member::MembershipState};

/// Member counts of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberCounts {
    /// Joined members.
    pub joined: u64,
    /// Invited members.
    pub invited: u64,
}

impl MemberCounts {
    pub(crate) fn from_state(state: &State) -> Self {
        let mut counts = Self::default();
        for pdu in state.of_type("m.room.member") {
            counts.change(None, &pdu.membership().unwrap_or(MembershipState::Leave));
        }
        counts
    }

    pub(crate) fn change(&mut self, from: Option<&MembershipState>, to: &MembershipState) {
        match from {
            Some(MembershipState::Join) => self.joined = self.joined.saturating_sub(1),
            Some(MembershipState::Invite) => self.invited = self.invited.saturating_sub(1),
            _ => {}
        }
        match to {
            MembershipState::Join => self.joined += 1,
            MembershipState::Invite => self.invited += 1,
            _ => {}
        }
    }
}

/// The most heroes in a summary.
const MAX_HEROES: usize = 5;

/// The earliest members of a room, in the order in which they joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heroes {
    /// Joined or invited: one more than returned, since a user is not a hero for itself.
    current: Vec<OwnedUserId>,
    /// Left or banned.
    former: Vec<OwnedUserId>,
}

impl Heroes {
    pub(crate) fn from_state(state: &State) -> Self {
        let (mut current, mut former) = (Vec::new(), Vec::new());
        for pdu in state.of_type("m.room.member") {
            let Some(user_id) = pdu
                .state_key()
                .and_then(|key| OwnedUserId::try_from(key).ok())
            else {
                continue;
            };
            let group = match pdu.membership() {
                Some(MembershipState::Join | MembershipState::Invite) => &mut current,
                _ => &mut former,
            };
            group.push((join_order(pdu), user_id));
        }
        Self {
            current: earliest(current),
            former: earliest(former),
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

/// The order in which members joined, judging by their current member events.
fn join_order(pdu: &Pdu) -> (u64, u64) {
    (pdu.depth(), pdu.origin_server_ts().0.into())
}

fn earliest(mut users: Vec<((u64, u64), OwnedUserId)>) -> Vec<OwnedUserId> {
    users.sort_unstable();
    users
        .into_iter()
        .take(MAX_HEROES + 1)
        .map(|(_, user_id)| user_id)
        .collect()
}
