//! What an answer says of one room.

use std::{collections::HashSet, sync::Arc};

use event::{Pdu, State, view::push_json_string};
use live::{Room, Tally, sight::Sight};
use ruma::{OwnedUserId, UserId};
use storage::{StoredEvent, memberships::Membership};
use types::{PageToken, StreamPosition};

use super::{ephemeral, notifications};
use crate::{
    answer::{push_events, push_field, push_plain_event},
    heroes, lazy_members,
    state::{self, Told},
    timeline::{BEGINNING, Timeline},
    v3::Ask,
};

/// A room that the user is in or has left, with all that is needed to tell of it.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) room: &'a Arc<Room>,
    pub(super) membership: &'a Membership,
    pub(super) until: StreamPosition,
    /// The client knows nothing of the room.
    pub(super) is_new: bool,
    /// The user was only ever invited, or knocked.
    pub(super) never_joined: bool,
    pub(super) whole_state: bool,
    /// The state at `until`, where it is known or needed.
    pub(super) state: Option<State>,
    /// State events since the token, oldest first.
    pub(super) changes: Vec<StoredEvent>,
    pub(super) timeline: Timeline,
    /// None: the user was joined all the time.
    pub(super) sight: Option<Sight>,
}

impl Section<'_> {
    /// A joined room with what is unread in it; none when there is nothing to tell.
    pub(super) fn joined(&self, ask: &Ask<'_>, unread: Option<&Tally>) -> Option<String> {
        let all_is_new = self.is_new || ask.request.full_state;
        let after = if self.is_new {
            BEGINNING
        } else {
            ask.since_stream().unwrap_or(BEGINNING)
        };
        let heroes = heroes::shown(self.room, &ask.request.user_id);
        let has_summary = all_is_new || self.changes.iter().any(|event| summarised(&event.pdu));
        let shown_heroes = heroes
            .as_deref()
            .filter(|_| has_summary)
            .unwrap_or_default();
        let state = self.state_events(ask, shown_heroes);

        let mut out = String::from("{");
        if has_summary {
            push_field(&mut out, "summary");
            heroes::write(&mut out, self.room, heroes.as_deref());
        }
        write_state(&mut out, ask, &state);
        self.write_timeline(&mut out, ask);
        push_field(&mut out, "ephemeral");
        let has_ephemeral = ephemeral::write(&mut out, ask, self.room, after);
        push_field(&mut out, "account_data");
        let has_data = write_data(&mut out, ask, self.membership, after);
        if let Some(unread) = unread {
            notifications::write(&mut out, ask, unread);
        }
        out.push('}');

        let has_news = all_is_new
            || !self.timeline.moments.is_empty()
            || self.timeline.limited
            || !state.is_empty()
            || has_ephemeral
            || has_data
            || self.was_read(ask, after);
        has_news.then_some(out)
    }

    /// Whether the user has read on, which changes what is unread even if receipts are not wanted.
    fn was_read(&self, ask: &Ask<'_>, after: StreamPosition) -> bool {
        let reader = &ask.request.user_id;
        let mut receipts = self.room.receipts_after(after);
        receipts.any(|receipt| receipt.user_id == *reader)
    }

    /// A room that the user has left.
    pub(super) fn left(&self, ask: &Ask<'_>) -> String {
        let state = self.state_events(ask, &[]);
        let mut out = String::from("{");
        write_state(&mut out, ask, &state);
        self.write_timeline(&mut out, ask);
        push_field(&mut out, "account_data");
        let after = if self.is_new {
            BEGINNING
        } else {
            ask.since_stream().unwrap_or(BEGINNING)
        };
        write_data(&mut out, ask, self.membership, after);
        out.push('}');
        out
    }

    fn state_events(&self, ask: &Ask<'_>, heroes: &[&UserId]) -> Vec<Arc<Pdu>> {
        if self.never_joined || !ask.filter.state.room_allowed(self.room.room_id()) {
            return Vec::new();
        }
        let base = self.state.clone().unwrap_or_default();
        let base = if ask.request.use_state_after {
            base
        } else {
            state::at_start(base, &self.timeline)
        };
        let reader = (self.whole_state || self.is_new).then_some(&*ask.request.user_id);
        let needed: Option<HashSet<OwnedUserId>> = ask
            .filter
            .lazy_load_members
            .then(|| lazy_members::needed(&self.timeline, heroes, reader));
        let mut events = if self.whole_state {
            Told::whole(&base, needed.as_ref())
        } else {
            let mut told = Told::default();
            for event in &self.changes {
                if ask.request.use_state_after || !self.timeline.shows(event) {
                    told.change(event, &base);
                }
            }
            if let Some(needed) = &needed {
                told.members(&base, needed);
            }
            told.into_events()
        };
        events.retain(|pdu| ask.filter.state.event(pdu));
        events
    }

    fn write_timeline(&self, out: &mut String, ask: &Ask<'_>) {
        let writer = ask.writer();
        push_field(out, "timeline");
        push_events(out, &self.timeline.moments, |out, moment| {
            let position = moment.event().position;
            let membership = self
                .sight
                .as_ref()
                .map(|sight| sight.membership_at(position));
            writer.moment(out, moment, membership.unwrap_or("join"));
        });
        out.pop();
        push_field(out, "limited");
        out.push_str(if self.timeline.limited {
            "true"
        } else {
            "false"
        });
        push_field(out, "prev_batch");
        push_json_string(out, &PageToken(self.timeline.prev).to_string());
        out.push('}');
    }
}

fn write_state(out: &mut String, ask: &Ask<'_>, state: &[Arc<Pdu>]) {
    push_field(
        out,
        if ask.request.use_state_after {
            "state_after"
        } else {
            "state"
        },
    );
    let writer = ask.writer();
    push_events(out, state, |out, pdu| writer.state(out, pdu));
}

/// Whether a state event may change the summary.
fn summarised(pdu: &Pdu) -> bool {
    matches!(
        pdu.event_type(),
        "m.room.member" | "m.room.name" | "m.room.canonical_alias"
    )
}

/// A joined room of which only the private data is new.
pub(super) fn data_only(ask: &Ask<'_>, membership: &Membership) -> Option<String> {
    let mut out = String::from("{\"account_data\":");
    let has_data = write_data(
        &mut out,
        ask,
        membership,
        ask.since_stream().unwrap_or(BEGINNING),
    );
    out.push('}');
    has_data.then_some(out)
}

/// Appends the user's private data of a room that is new.
fn write_data(
    out: &mut String,
    ask: &Ask<'_>,
    membership: &Membership,
    after: StreamPosition,
) -> bool {
    let rules = &ask.filter.room_account_data;
    let allowed = rules.room_allowed(&membership.room_id);
    let data = ask.look.user.account_data(Some(membership.room_nid));
    let told: Vec<_> = data
        .filter(|(kind, datum)| allowed && datum.position > after && rules.kind(kind))
        .collect();
    let has_data = !told.is_empty();
    push_events(out, told, |out, (kind, datum)| {
        push_plain_event(out, kind, &datum.content);
    });
    has_data
}
