//! The section of one room.

use std::{collections::HashSet, sync::Arc};

use event::{Pdu, State, view::push_json_string};
use live::{Room, UnreadCounts, UserVisibility};
use ruma::{OwnedUserId, UserId};
use storage::{
    memberships::Membership,
    stream::{StateChange, StateEvent},
};
use types::{PageToken, StreamPosition};

use super::{ephemeral, notifications};
use crate::{
    context::SyncContext,
    heroes, lazy_members,
    response::{push_events, push_field, push_type_and_content},
    state::{self, StateUpdate},
    timeline::Timeline,
};

/// The data of a joined or left room.
#[derive(Debug)]
pub(super) struct RoomSection<'a> {
    /// The reader.
    pub(super) user_id: &'a UserId,
    pub(super) room: &'a Arc<Room>,
    pub(super) membership: &'a Membership,
    pub(super) until: StreamPosition,
    /// The user may see the state as of here: for a former member, where the last stay ended.
    pub(super) state_until: StreamPosition,
    /// The client has no data of the room.
    pub(super) is_initial: bool,
    /// The user was never joined, only invited or knocked.
    pub(super) never_joined: bool,
    pub(super) full_state: bool,
    /// The state at `until`, if it is cached or needed.
    pub(super) state: Option<State>,
    /// How the state changed since the token, oldest first.
    pub(super) changes: Vec<StateChange>,
    /// How the state changed since the first event of the timeline, as far as the cache does not
    /// hold it, oldest first.
    pub(super) older_changes: Vec<StateChange>,
    pub(super) timeline: Timeline,
    /// `None` if the user was joined all the time.
    pub(super) visibility: Option<UserVisibility>,
}

impl RoomSection<'_> {
    /// A joined room with its unread counts; `None` if nothing changed.
    pub(super) fn joined(
        &self,
        context: &SyncContext<'_>,
        unread: Option<&UnreadCounts>,
    ) -> Option<String> {
        let is_complete = self.is_initial || context.request.full_state;
        let after = if self.is_initial {
            StreamPosition::START
        } else {
            context.since_stream().unwrap_or(StreamPosition::START)
        };
        let heroes = heroes::for_summary(self.room, &context.request.user_id);
        let has_summary = is_complete || self.changes.iter().any(affects_summary);
        let sent_heroes = heroes
            .as_deref()
            .filter(|_| has_summary)
            .unwrap_or_default();
        let state = self.state_events(context, sent_heroes);

        let mut out = String::from("{");
        if has_summary {
            push_field(&mut out, "summary");
            heroes::write(&mut out, self.room, heroes.as_deref());
        }
        write_state(&mut out, context, &state);
        self.write_timeline(&mut out, context);
        push_field(&mut out, "ephemeral");
        let has_ephemeral = ephemeral::write(&mut out, context, self.room, after);
        push_field(&mut out, "account_data");
        let has_data = write_account_data(&mut out, context, self.membership, after);
        if let Some(unread) = unread {
            notifications::write(&mut out, context, unread);
        }
        out.push('}');

        let has_changes = is_complete
            || !self.timeline.events.is_empty()
            || self.timeline.limited
            || !state.is_empty()
            || has_ephemeral
            || has_data
            || self.has_own_receipts(context, after);
        has_changes.then_some(out)
    }

    /// Whether the user has sent receipts: these change the counts even if receipts are filtered out.
    fn has_own_receipts(&self, context: &SyncContext<'_>, after: StreamPosition) -> bool {
        let reader = &context.request.user_id;
        let mut receipts = self.room.receipts_after(after);
        receipts.any(|receipt| receipt.user_id == *reader)
    }

    /// A left room.
    pub(super) fn left(&self, context: &SyncContext<'_>) -> String {
        let state = self.state_events(context, &[]);
        let mut out = String::from("{");
        write_state(&mut out, context, &state);
        self.write_timeline(&mut out, context);
        push_field(&mut out, "account_data");
        let after = if self.is_initial {
            StreamPosition::START
        } else {
            context.since_stream().unwrap_or(StreamPosition::START)
        };
        write_account_data(&mut out, context, self.membership, after);
        out.push('}');
        out
    }

    fn state_events(&self, context: &SyncContext<'_>, heroes: &[&UserId]) -> Vec<Arc<Pdu>> {
        if self.never_joined || !context.filter.state.allows_room(self.room.room_id()) {
            return Vec::new();
        }
        let base = self.state.clone().unwrap_or_default();
        let base = if context.request.use_state_after {
            base
        } else {
            state::at_start(base, self.timeline_changes(), &self.timeline)
        };
        let reader = (self.full_state || self.is_initial).then_some(&*context.request.user_id);
        let needed: Option<HashSet<OwnedUserId>> = context
            .filter
            .lazy_load_members
            .then(|| lazy_members::required_members(&self.timeline, heroes, reader));
        let mut events = if self.full_state {
            StateUpdate::full(&base, needed.as_ref())
        } else {
            let mut update = StateUpdate::default();
            for change in &self.changes {
                let is_shown = |event: &StateEvent| self.timeline.contains(event.nid);
                if context.request.use_state_after || !change.to.as_ref().is_some_and(is_shown) {
                    update.insert_change(change, &base);
                }
            }
            if let Some(needed) = &needed {
                update.insert_members(&base, needed);
            }
            update.into_events()
        };
        events.retain(|pdu| context.filter.state.allows_event(pdu));
        events
    }

    /// How the state changed since the first event of the timeline, the newest first.
    fn timeline_changes(&self) -> impl Iterator<Item = &StateChange> {
        let first = self.timeline.events.first();
        let start = first.map_or(self.until, |first| before(first.position()));
        self.cached_changes(start)
            .rev()
            .chain(self.older_changes.iter().rev())
    }

    /// The cached changes of state after a position, as far as the user may see them, oldest first:
    /// after the last stay those of the own membership.
    pub(super) fn cached_changes(
        &self,
        after: StreamPosition,
    ) -> impl DoubleEndedIterator<Item = &StateChange> {
        let user_id = self.user_id;
        let is_own = move |change: &StateChange| {
            let event = change.event();
            event.is_some_and(|pdu| {
                pdu.event_type() == "m.room.member" && pdu.state_key() == Some(user_id.as_str())
            })
        };
        let cached = self.room.state_changes_after(after);
        cached
            .filter(move |(position, change)| {
                *position <= self.state_until || (*position <= self.until && is_own(change))
            })
            .map(|(_, change)| change)
    }

    /// Cuts the timeline so that it holds no older state than the response would begin with.
    pub(super) fn cut_outdated_state(&mut self) {
        if let Some(event) = state::last_outdated(self.timeline_changes(), &self.timeline) {
            self.timeline.cut_through(event);
        }
    }

    fn write_timeline(&self, out: &mut String, context: &SyncContext<'_>) {
        let writer = context.writer();
        push_field(out, "timeline");
        push_events(out, &self.timeline.events, |out, timeline_event| {
            let order = timeline_event.event().history_order;
            let membership = self
                .visibility
                .as_ref()
                .map(|visibility| visibility.membership_at(order));
            writer.timeline_event(out, timeline_event, membership.unwrap_or("join"));
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

fn write_state(out: &mut String, context: &SyncContext<'_>, state: &[Arc<Pdu>]) {
    push_field(
        out,
        if context.request.use_state_after {
            "state_after"
        } else {
            "state"
        },
    );
    let writer = context.writer();
    push_events(out, state, |out, pdu| writer.state(out, pdu));
}

/// The position before another.
fn before(position: StreamPosition) -> StreamPosition {
    StreamPosition(position.get() - 1)
}

/// Whether a change of state may change the summary.
fn affects_summary(change: &StateChange) -> bool {
    matches!(
        change.event().map_or("", |event| event.event_type()),
        "m.room.member" | "m.room.name" | "m.room.canonical_alias"
    )
}

/// A joined room of which only account data changed.
pub(super) fn account_data_only(
    context: &SyncContext<'_>,
    membership: &Membership,
) -> Option<String> {
    let mut out = String::from("{\"account_data\":");
    let has_data = write_account_data(
        &mut out,
        context,
        membership,
        context.since_stream().unwrap_or(StreamPosition::START),
    );
    out.push('}');
    has_data.then_some(out)
}

/// Appends the changed account data of a room.
fn write_account_data(
    out: &mut String,
    context: &SyncContext<'_>,
    membership: &Membership,
    after: StreamPosition,
) -> bool {
    let event_filter = &context.filter.room_account_data;
    let allowed = event_filter.allows_room(&membership.room_id);
    let data = context.view.user.account_data(Some(membership.room_nid));
    let entries: Vec<_> = data
        .filter(|(event_type, entry)| {
            allowed && entry.position > after && event_filter.allows_type(event_type)
        })
        .collect();
    let has_data = !entries.is_empty();
    push_events(out, entries, |out, (event_type, entry)| {
        push_type_and_content(out, event_type, &entry.content);
    });
    has_data
}
