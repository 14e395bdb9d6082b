//! What is collected of one joined or left room, and the update that comes of it.

use std::{collections::HashSet, sync::Arc};

use event::{Pdu, State};
use live::{UnreadCounts, UserVisibility, is_core};
use ruma::{OwnedUserId, UserId, events::room::member::MembershipState};
use storage::{
    StoredEvent,
    events::Span,
    memberships::Membership,
    stream::{Receipt, StateChange, StateEvent},
};
use types::{EventNid, HistoryOrder, RoomNid, StreamPosition};

use super::{
    state::{self, StateUpdate},
    summary::{affects_summary, summary},
    timeline::{Timeline, TimelineFilter},
};
use crate::{
    context::SyncContext,
    query::{RoomQuery, RoomRequest, StateAt},
    required_state::Required,
    updates::{JoinedRoom, LeftRoom, RoomChanges, TimelineUpdate},
};

/// The data of a joined or left room.
#[derive(Debug)]
pub(super) struct RoomCollector<'a> {
    pub(super) request: RoomRequest<'a>,
    /// The reader.
    user_id: &'a UserId,
    until: StreamPosition,
    /// The user may see the state as of here: for a former member, where the last stay ended.
    state_until: StreamPosition,
    /// The client has no data of the room.
    is_initial: bool,
    /// The user was never joined, only invited or knocked.
    pub(super) never_joined: bool,
    pub(super) full_state: bool,
    /// The state at `until`, as far as it is needed.
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

impl<'a> RoomCollector<'a> {
    /// Begins with what is cached.
    pub(super) fn new(
        context: &SyncContext<'a>,
        request: RoomRequest<'a>,
        visibility: Option<UserVisibility>,
    ) -> Self {
        let RoomRequest {
            room,
            membership,
            query,
        } = request;
        let joined = membership.membership == MembershipState::Join;
        let until = if joined {
            context.view.position
        } else {
            membership.position
        };
        let last_leave = visibility.as_ref().and_then(UserVisibility::last_leave);
        let state_until = match last_leave {
            Some(last_leave) if !joined => last_leave.position.unwrap_or(StreamPosition::START),
            _ => until,
        };
        let was_in = |since: StreamPosition| {
            visibility.as_ref().is_none_or(|visibility| {
                let at = Some(HistoryOrder::of(since));
                visibility.membership(at) == MembershipState::Join
            })
        };
        // The room was withheld until then.
        let is_new = joined && !query.state.lazy_load_members && request.is_completed();
        let is_initial = is_new || query.since.is_none_or(|since| !was_in(since));
        let never_joined = !joined
            && visibility
                .as_ref()
                .is_some_and(|visibility| !visibility.was_joined(HistoryOrder::of(until)));
        let mut collector = Self {
            request,
            user_id: context.user_id,
            until,
            state_until,
            is_initial,
            never_joined,
            full_state: (is_initial || query.state.is_full) && !never_joined,
            state: None,
            changes: Vec::new(),
            older_changes: Vec::new(),
            timeline: Timeline::default(),
            visibility,
        };
        let after = match query.since {
            Some(since) if (!is_initial && !query.timeline.is_expanded) || never_joined => since,
            _ => StreamPosition::START,
        };
        let filter = collector.timeline_filter(context);
        let mut timeline = Timeline::recent(room, filter, after, until);
        timeline.detect_gap(room);
        // The timeline does not continue from that of an earlier stay, even if no event is left out.
        timeline.limited |= joined && is_initial && query.since.is_some();
        collector.timeline = timeline;
        collector
    }

    pub(super) fn room_nid(&self) -> RoomNid {
        self.request.room.room_nid()
    }

    /// The part of the stream after a position that the cache does not cover.
    pub(super) fn uncached_span(&self, after: StreamPosition) -> Option<Span> {
        let room = self.request.room;
        (!room.timeline_covers(after)).then(|| Span {
            room_nid: room.room_nid(),
            after,
            until: room.timeline_start().min(self.state_until),
        })
    }

    fn timeline_filter<'s>(&'s self, context: &SyncContext<'s>) -> TimelineFilter<'s> {
        TimelineFilter {
            user: &context.view.user,
            query: self.request.query.timeline,
            visibility: self.visibility.as_ref(),
            never_joined: self.never_joined,
        }
    }

    /// Adds older events to the timeline, as read with a limit, and the visibility that covers them.
    pub(super) fn extend_timeline(
        &mut self,
        context: &SyncContext<'_>,
        older: Vec<StoredEvent>,
        read_limit: i64,
        visibility: Option<UserVisibility>,
    ) {
        if visibility.is_some() {
            self.visibility = visibility;
        }
        let mut timeline = std::mem::take(&mut self.timeline);
        timeline.extend(older, self.timeline_filter(context), read_limit);
        self.timeline = timeline;
    }

    /// The update of a joined room; `None` if nothing changed.
    pub(super) fn joined(
        self,
        context: &SyncContext<'a>,
        unread: Option<Arc<UnreadCounts>>,
    ) -> Option<JoinedRoom<'a>> {
        let (room, user_id, query) = (self.request.room, self.user_id, self.request.query);
        let is_complete = self.is_initial || query.state.is_full;
        let has_summary = is_complete || self.changes.iter().any(affects_summary);
        let summary = has_summary.then(|| summary(room, self.user_id));
        let heroes = summary
            .as_ref()
            .and_then(|summary| summary.heroes.as_deref());
        let state = self.state_events(heroes.unwrap_or_default());
        let after = self.after();
        let changed = self.room_changes();
        let hero_members = self.hero_members(heroes.unwrap_or_default());
        let typing = query.typing.then(|| self.typing(context)).flatten();
        let receipts = query.receipts.then(|| self.receipts(after).collect());
        // Own receipts change the counts even if receipts are not asked for.
        let mut all_receipts = room.receipts_after(after);
        let has_own_receipts = all_receipts.any(|receipt| receipt.user_id == *user_id);
        let joined = JoinedRoom {
            room,
            is_initial: self.is_initial,
            changed,
            has_own_receipts,
            hero_members,
            summary,
            state,
            removed_state: self.removed_state(),
            typing,
            receipts: receipts.unwrap_or_default(),
            account_data: account_data(context, self.request.membership, &query, after),
            timeline: self.into_timeline_update(),
            unread,
        };
        let has_changes = is_complete
            || query.is_always_told
            || !joined.timeline.events.is_empty()
            || joined.timeline.limited
            || !joined.state.is_empty()
            || joined.typing.is_some()
            || !joined.receipts.is_empty()
            || !joined.account_data.is_empty()
            || joined.has_own_receipts
            || joined.changed.left_required;
        has_changes.then_some(joined)
    }

    /// The update of a left room.
    pub(super) fn left(self, context: &SyncContext<'a>) -> LeftRoom<'a> {
        let RoomRequest {
            membership, query, ..
        } = self.request;
        LeftRoom {
            is_initial: self.is_initial,
            never_joined: self.never_joined,
            state: self.state_events(&[]),
            account_data: account_data(context, membership, &query, self.after()),
            timeline: self.into_timeline_update(),
        }
    }

    /// Which of what clients are told of a room beside its events changed.
    fn room_changes(&self) -> RoomChanges {
        let mut changed = RoomChanges::default();
        let required = self.request.query.state.required;
        for event in self.changes.iter().filter_map(|change| change.event()) {
            match event.event_type() {
                "m.room.name" => changed.name = true,
                "m.room.avatar" => changed.avatar = true,
                _ => {}
            }
            changed.left_required |= required.is_some_and(|required| {
                let is_sent = required.sent.is_some_and(|sent| sent.selects_event(event));
                is_sent && !required.selected.selects_event(event)
            });
        }
        changed
    }

    /// The member events of heroes, as far as they were collected.
    fn hero_members(&self, heroes: &[&UserId]) -> Vec<Arc<Pdu>> {
        let members = heroes
            .iter()
            .filter_map(|hero| self.state.as_ref()?.get("m.room.member", hero.as_str()));
        members.cloned().collect()
    }

    /// The client has receipts and account data up to here.
    fn after(&self) -> StreamPosition {
        if self.is_initial {
            StreamPosition::START
        } else {
            self.request.query.after()
        }
    }

    fn into_timeline_update(self) -> TimelineUpdate {
        TimelineUpdate {
            events: self.timeline.events,
            limited: self.timeline.limited,
            prev: self.timeline.prev,
            visibility: self.visibility,
        }
    }

    /// The users who type, if they changed.
    fn typing(&self, context: &SyncContext<'a>) -> Option<Vec<&'a UserId>> {
        let view = context.view;
        let users = view.typing.get(&self.room_nid())?;
        // An initial sync omits an empty list.
        let is_returned = !users.is_empty() || self.request.query.since.is_some();
        let visible = users.iter().filter(|user_id| !view.user.ignores(user_id));
        is_returned.then(|| visible.map(|user_id| &**user_id).collect())
    }

    /// The receipts after a position that the reader may see.
    fn receipts(&self, after: StreamPosition) -> impl Iterator<Item = &'a Receipt> {
        let user_id = self.user_id;
        let receipts = self.request.room.receipts_after(after);
        receipts.filter(move |receipt| {
            receipt.receipt_type != "m.read.private" || receipt.user_id == *user_id
        })
    }

    /// Whether what is needed of the state is the current one.
    pub(super) fn is_current(&self) -> bool {
        self.request.membership.membership == MembershipState::Join
    }

    /// The events of the current state that the update is made of, besides those that are in memory
    /// with every room.
    pub(super) fn needed_events(&self) -> Vec<EventNid> {
        let query = &self.request.query.state;
        let (state, mut needed) = (self.request.room.state(), Vec::new());
        if query.filter.is_none() {
            return needed;
        }
        if let Some(required) = query.required {
            needed = self.required_events(required);
        } else if query.lazy_load_members {
            let summary = summary(self.request.room, self.user_id);
            let heroes = summary.heroes.unwrap_or_default();
            let users = state::required_members(&self.timeline, &heroes, Some(self.user_id));
            let members = users.iter();
            let members = members.filter_map(|user_id| state.members().get(user_id.as_str()));
            needed.extend(members.map(|member| member.event_nid));
        } else if self.full_state {
            let members = state.members().iter();
            needed.extend(members.map(|(_, member)| member.event_nid));
        }
        if self.full_state && query.required.is_none() {
            needed.extend(state.other_event_nids());
        }
        needed.extend(self.known_changes().filter_map(|change| {
            let event = change.event().filter(|event| !is_core(event))?;
            state.event_nid(event.event_type(), event.state_key()?)
        }));
        needed
    }

    /// The events of the current state that a client of sliding sync needs, whether they changed or not.
    fn required_events(&self, required: Required<'_>) -> Vec<EventNid> {
        let state = self.request.room.state();
        let full = Some(required.selected).filter(|_| self.full_state);
        let full = full.or(required.added);
        let mut needed = full.map_or_else(Vec::new, |full| full.event_nids(state));
        let mut users = HashSet::new();
        if required.selected.has_lazy_members() {
            users = state::mentioned_members(&self.timeline);
        }
        if self.is_initial || self.changes.iter().any(affects_summary) {
            let heroes = summary(self.request.room, self.user_id).heroes;
            users.extend(
                heroes
                    .unwrap_or_default()
                    .into_iter()
                    .map(ToOwned::to_owned),
            );
        }
        let members = users.iter();
        let members = members.filter_map(|user_id| state.members().get(user_id.as_str()));
        needed.extend(members.map(|member| member.event_nid));
        needed
    }

    /// The state that a client of sliding sync asks for, as far as it is new.
    fn required_state(&self, required: Required<'_>) -> Vec<Arc<Pdu>> {
        let base = self.state.clone().unwrap_or_default();
        let mut update = StateUpdate::default();
        let full = Some(required.selected).filter(|_| self.full_state);
        if let Some(full) = full.or(required.added) {
            let selected = base.iter().filter(|pdu| full.selects_event(pdu));
            selected.for_each(|pdu| update.insert(pdu));
        }
        if self.never_joined {
            // Nothing of the room can be read but the own membership, which the timeline has.
            let events = self.timeline.events.iter().map(|event| event.pdu());
            let selected = events.filter(|pdu| required.selected.selects_event(pdu));
            selected.for_each(|pdu| update.insert(pdu));
            return update.into_events();
        }
        let is_lazy = required.selected.has_lazy_members();
        for change in &self.changes {
            let is_selected = change.event().is_some_and(|event| {
                // Without a gap a client may keep the list of members up to date.
                let is_member = event.event_type() == "m.room.member";
                required.selected.selects_event(event)
                    || (is_member && is_lazy && !self.timeline.limited)
            });
            if is_selected {
                update.insert_change(change, &base);
            }
        }
        if is_lazy {
            update.insert_members(&base, &state::mentioned_members(&self.timeline));
        }
        update.into_events()
    }

    /// The keys of required state that have no event any more.
    fn removed_state(&self) -> Vec<(String, String)> {
        let Some(required) = self.request.query.state.required else {
            return Vec::new();
        };
        let gone = self.changes.iter().filter(|change| change.to.is_none());
        let gone = gone.filter_map(|change| change.event());
        let state = self.state.as_ref();
        let is_removed = |event: &&Arc<Pdu>| {
            let key = event.state_key().unwrap_or_default();
            let current = state.and_then(|state| state.get(event.event_type(), key));
            required.selected.selects_event(event) && current.is_none()
        };
        let key = |event: &Arc<Pdu>| {
            let state_key = event.state_key().unwrap_or_default();
            (event.event_type().to_owned(), state_key.to_owned())
        };
        gone.filter(is_removed).map(key).collect()
    }

    /// The changes of state since the token and since the start of the timeline.
    pub(super) fn known_changes(&self) -> impl Iterator<Item = &StateChange> {
        self.changes.iter().chain(self.timeline_changes())
    }

    fn state_events(&self, heroes: &[&UserId]) -> Vec<Arc<Pdu>> {
        let query = &self.request.query.state;
        if let Some(required) = query.required {
            return self.required_state(required);
        }
        let Some(filter) = query.filter.filter(|_| !self.never_joined) else {
            return Vec::new();
        };
        let base = self.state.clone().unwrap_or_default();
        let base = match query.at {
            StateAt::TimelineEnd => base,
            StateAt::TimelineStart => {
                state::at_start(base, self.timeline_changes(), &self.timeline)
            }
        };
        let reader = (self.full_state || self.is_initial).then_some(self.user_id);
        let needed: Option<HashSet<OwnedUserId>> = query
            .lazy_load_members
            .then(|| state::required_members(&self.timeline, heroes, reader));
        let mut events = if self.full_state {
            StateUpdate::full(&base, needed.as_ref())
        } else {
            let mut update = StateUpdate::default();
            let completed = needed.as_ref().filter(|_| self.request.is_completed());
            for change in &self.changes {
                // Who was found to be a member is nothing that happened in the room.
                if completed.is_some_and(|needed| state::is_learned(change, needed)) {
                    continue;
                }
                let is_shown = |event: &StateEvent| self.timeline.contains(event.nid);
                if query.at == StateAt::TimelineEnd || !change.to.as_ref().is_some_and(is_shown) {
                    update.insert_change(change, &base);
                }
            }
            if let Some(needed) = &needed {
                update.insert_members(&base, needed);
            }
            update.into_events()
        };
        events.retain(|pdu| filter.allows_event(pdu));
        events
    }

    /// How the state changed since the first event of the timeline, the newest first.
    fn timeline_changes(&self) -> impl Iterator<Item = &StateChange> {
        let first = self.timeline.events.first();
        let before = |position: StreamPosition| StreamPosition(position.get() - 1);
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
        let cached = self.request.room.state_changes_after(after);
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
}

/// The account data of a room that changed after a position and is asked for.
pub(super) fn account_data<'a>(
    context: &SyncContext<'a>,
    membership: &Membership,
    query: &RoomQuery<'_>,
    after: StreamPosition,
) -> Vec<(&'a str, &'a str)> {
    let Some(filter) = query.account_data else {
        return Vec::new();
    };
    let room_nid = Some(membership.room_nid);
    let data = context.view.user.account_data_after(room_nid, after);
    data.filter(|(event_type, _)| filter.allows_type(event_type))
        .filter(|(_, entry)| query.since.is_some() || !entry.is_deleted())
        .map(|(event_type, entry)| (event_type, &*entry.content))
        .collect()
}
