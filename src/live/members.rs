//! How many members a room has, and who gives it a name when it has none.

use event::{Pdu, State};
use ruma::{OwnedUserId, UserId, events::room::member::MembershipState};

/// Numbers of members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Who is joined.
    pub joined: u64,
    /// Who is invited.
    pub invited: u64,
}

impl Members {
    pub(crate) fn count(state: &State) -> Self {
        let mut members = Self::default();
        for pdu in state.of_type("m.room.member") {
            members.change(None, &pdu.membership().unwrap_or(MembershipState::Leave));
        }
        members
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

/// Heroes that a room shows at the most.
const SHOWN: usize = 5;

/// The first members of a room, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heroes {
    /// Joined and invited: one more than are shown, because nobody is a hero to himself.
    here: Vec<OwnedUserId>,
    /// Who left or was banned.
    gone: Vec<OwnedUserId>,
}

impl Heroes {
    pub(crate) fn of(state: &State) -> Self {
        let (mut here, mut gone) = (Vec::new(), Vec::new());
        for pdu in state.of_type("m.room.member") {
            let Some(user_id) = pdu
                .state_key()
                .and_then(|key| OwnedUserId::try_from(key).ok())
            else {
                continue;
            };
            let group = match pdu.membership() {
                Some(MembershipState::Join | MembershipState::Invite) => &mut here,
                _ => &mut gone,
            };
            group.push((order(pdu), user_id));
        }
        Self {
            here: first(here),
            gone: first(gone),
        }
    }

    /// Up to five users other than the reader: members, or else those who were.
    pub fn seen_by(&self, reader: &UserId) -> Vec<&UserId> {
        let here = pick(&self.here, reader);
        if here.is_empty() {
            pick(&self.gone, reader)
        } else {
            here
        }
    }
}

fn pick<'a>(users: &'a [OwnedUserId], reader: &UserId) -> Vec<&'a UserId> {
    users
        .iter()
        .map(|user_id| &**user_id)
        .filter(|user_id| *user_id != reader)
        .take(SHOWN)
        .collect()
}

/// The order in which members came, as far as their events tell.
fn order(pdu: &Pdu) -> (u64, u64) {
    (pdu.depth(), pdu.origin_server_ts().0.into())
}

fn first(mut users: Vec<((u64, u64), OwnedUserId)>) -> Vec<OwnedUserId> {
    users.sort_unstable();
    users
        .into_iter()
        .take(SHOWN + 1)
        .map(|(_, user_id)| user_id)
        .collect()
}
