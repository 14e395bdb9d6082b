//! A cached room: its state, recent timeline, receipts.

use std::{collections::VecDeque, sync::Arc};

use event::{Pdu, Relation};
use imbl::OrdMap;
use ruma::{OwnedRoomId, OwnedUserId, UserId, push::PushConditionPowerLevelsCtx};
use storage::{
    StoredEvent,
    events::Span,
    stream::{EventChange, Receipt, Redacted, StateChange},
};
use types::{EventNid, HistoryOrder, RoomNid, StreamPosition};

use crate::{
    members::{Heroes, Member, MemberCounts},
    room_state::RoomState,
    timeline_event::TimelineEvent,
    unread::{ReadUpTo, RecentRedaction, Thread},
    visibility::UserVisibility,
};

/// The most timeline events cached for a room.
const MAX_TIMELINE: usize = 64;
/// The most redactions cached for a room.
const MAX_REDACTIONS: usize = 32;

/// A room as of a position; a clone shares the large parts.
#[derive(Clone, Debug)]
pub struct Room {
    pub(crate) state: Arc<RoomState>,
    timeline: VecDeque<Arc<TimelineEvent>>,
    /// How the state changed, with positions, oldest first.
    deltas: VecDeque<(StreamPosition, Arc<[StateChange]>)>,
    /// The cached timeline holds every accepted event after this, and `deltas` every change of state.
    timeline_start: StreamPosition,
    receipts: OrdMap<StreamPosition, Arc<Receipt>>,
    latest_receipts: OrdMap<ReceiptKey, StreamPosition>,
    /// The last redactions of events that may have been counted as unread.
    recent_redactions: VecDeque<Arc<RecentRedaction>>,
    /// `recent_redactions` holds every such redaction after this.
    redactions_start: StreamPosition,
    /// The position of the database snapshot that all but the state was loaded from.
    pub(crate) loaded_at: StreamPosition,
    /// The size of all but the state.
    pub(crate) weight: usize,
}

type ReceiptKey = (OwnedUserId, String, String);

impl Room {
    /// A room from what the database holds at `loaded_at`: its last `limit` events, oldest first.
    pub(crate) fn new(
        state: Arc<RoomState>,
        recent: Vec<StoredEvent>,
        limit: usize,
        loaded_at: StreamPosition,
    ) -> Self {
        let timeline_start = match recent.first() {
            Some(first) if recent.len() >= limit => before(first),
            _ => StreamPosition::START,
        };
        let mut room = Self {
            weight: 512,
            state,
            timeline: VecDeque::new(),
            deltas: VecDeque::new(),
            timeline_start,
            receipts: OrdMap::new(),
            latest_receipts: OrdMap::new(),
            recent_redactions: VecDeque::new(),
            redactions_start: loaded_at,
            loaded_at,
        };
        for event in recent {
            room.push_event(event);
        }
        room
    }

    /// The room's numeric id.
    pub fn room_nid(&self) -> RoomNid {
        self.state.room_nid()
    }

    /// The room's id.
    pub fn room_id(&self) -> &OwnedRoomId {
        self.state.room_id()
    }

    /// The current state.
    pub fn state(&self) -> &RoomState {
        &self.state
    }

    /// The member counts.
    pub fn member_counts(&self) -> MemberCounts {
        self.state.member_counts()
    }

    /// The heroes, from whom a room without a name takes its name.
    pub fn heroes(&self) -> &Heroes {
        self.state.heroes()
    }

    /// The power levels that push conditions need.
    pub fn push_levels(&self) -> Option<&PushConditionPowerLevelsCtx> {
        self.state.push_levels()
    }

    /// Whether every accepted event after the position is cached.
    pub fn timeline_covers(&self, after: StreamPosition) -> bool {
        self.timeline_start <= after
    }

    /// The position after which every accepted event is cached.
    pub fn timeline_start(&self) -> StreamPosition {
        self.timeline_start
    }

    /// The part of the stream that the cached timeline is of.
    pub(crate) fn timeline_span(&self, until: StreamPosition) -> Span {
        Span {
            room_nid: self.room_nid(),
            after: self.timeline_start,
            until,
        }
    }

    /// The cached timeline, oldest first.
    pub fn timeline(&self) -> impl DoubleEndedIterator<Item = &Arc<TimelineEvent>> {
        self.timeline.iter()
    }

    /// Receipts that changed after the position, oldest first.
    pub fn receipts_after(&self, after: StreamPosition) -> impl Iterator<Item = &Receipt> {
        let after = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        self.receipts.range(after).map(|(_, receipt)| &**receipt)
    }

    /// How far a user that joined at a position has read.
    pub fn read_up_to(&self, user_id: &UserId, joined: StreamPosition) -> ReadUpTo {
        let mut read = ReadUpTo::since(joined);
        let first = (user_id.to_owned(), String::new(), String::new());
        let own = self.latest_receipts.range(first..);
        let own = own.take_while(|((of, _, _), _)| of == user_id);
        for receipt in own.filter_map(|(_, position)| self.receipts.get(position)) {
            let thread = match &*receipt.thread_id {
                "" => None,
                "main" => Some(Thread::Main),
                root => match root.try_into() {
                    Ok(root) => Some(Thread::Of(root)),
                    Err(_) => continue,
                },
            };
            if let Some(order) = receipt.event_order {
                read.advance(thread, order);
            }
        }
        read
    }

    /// Whether all events and redactions after a position are cached.
    pub fn is_continuous_from(&self, until: StreamPosition) -> bool {
        self.redactions_start <= until && self.timeline_covers(until)
    }

    /// The redactions after a position of events that may have been counted as unread.
    pub fn redactions_after(
        &self,
        until: StreamPosition,
    ) -> impl Iterator<Item = &RecentRedaction> {
        self.recent_redactions
            .iter()
            .map(AsRef::as_ref)
            .filter(move |redaction| redaction.redacted_at > until)
    }

    /// The position of the last event or receipt.
    pub(crate) fn last_change(&self) -> StreamPosition {
        let event = self.timeline.back().map(|event| event.position());
        let delta = self.deltas.back().map(|(position, _)| *position);
        let receipt = self.receipts.get_max().map(|(position, _)| *position);
        event.max(delta).max(receipt).unwrap_or_default()
    }

    /// What a user may see of the cached timeline.
    pub fn visibility_for(&self, user_id: &UserId) -> UserVisibility {
        let member = self.state.members().get(user_id.as_str());
        let visibility = self.state.core().get("m.room.history_visibility", "");
        UserVisibility::from_changes(
            user_id,
            (
                &self.key_changes("m.room.member", user_id.as_str()),
                member.map(Member::membership),
            ),
            (
                &self.key_changes("m.room.history_visibility", ""),
                visibility.map(AsRef::as_ref),
            ),
        )
    }

    /// How the current state of a key changed in the cached timeline, each change with the order of the
    /// event that caused it. An accepted event that lost state resolution changes nothing.
    fn key_changes(&self, event_type: &str, state_key: &str) -> Vec<(HistoryOrder, &StateChange)> {
        let is_of_key = |change: &&StateChange| {
            let event = change.event();
            event.is_some_and(|event| {
                event.event_type() == event_type && event.state_key() == Some(state_key)
            })
        };
        let deltas = self.deltas.iter();
        let changes = deltas.flat_map(|(position, changes)| {
            // A delta has the position after the event that caused it.
            let order = HistoryOrder::of(StreamPosition(position.get() - 1));
            changes
                .iter()
                .filter(is_of_key)
                .map(move |change| (order, change))
        });
        changes.collect()
    }

    /// Applies a committed event to all but the state.
    pub(crate) fn apply(&mut self, change: &EventChange) {
        let event = &change.event;
        if !event.is_accepted() {
            return;
        }
        if let Some(relation) = event.pdu.relation() {
            self.note_relation(&relation);
        }
        self.push_event(event.clone());
        if let Some(redacted) = &change.redacts {
            self.record_redaction(event.position.unwrap_or_default(), redacted);
            self.redact(redacted, &event.pdu);
        }
    }

    /// Notes at an event of the timeline that another one relates to it in a way that is aggregated.
    fn note_relation(&mut self, relation: &Relation) {
        if !relation.is_aggregated() {
            return;
        }
        let is_target = |timeline_event: &&mut Arc<TimelineEvent>| {
            let event = timeline_event.event();
            !event.has_relations && *event.pdu.event_id() == relation.event_id
        };
        if let Some(target) = self.timeline.iter_mut().rev().find(is_target) {
            let mut event = target.event().clone();
            event.has_relations = true;
            *target = Arc::new(TimelineEvent::new(event));
        }
    }

    /// Adds a change of state.
    pub(crate) fn push_delta(&mut self, position: StreamPosition, changes: Arc<[StateChange]>) {
        self.weight += delta_weight(&changes);
        self.deltas.push_back((position, changes));
    }

    /// How the state changed after a position, oldest first, as far as it is cached (see
    /// [`timeline_covers`](Self::timeline_covers)).
    pub fn state_changes_after(
        &self,
        after: StreamPosition,
    ) -> impl DoubleEndedIterator<Item = (StreamPosition, &StateChange)> {
        let from = self
            .deltas
            .partition_point(|(position, _)| *position <= after);
        let deltas = self.deltas.range(from..);
        deltas.flat_map(|(position, changes)| changes.iter().map(|change| (*position, change)))
    }

    fn push_event(&mut self, event: StoredEvent) {
        let timeline_event = TimelineEvent::new(event);
        self.weight += timeline_event.weight();
        self.timeline.push_back(Arc::new(timeline_event));
        if self.timeline.len() > MAX_TIMELINE
            && let Some(dropped) = self.timeline.pop_front()
        {
            self.weight = self.weight.saturating_sub(dropped.weight());
            self.timeline_start = dropped.position();
            let start = self.timeline_start;
            let passed = self
                .deltas
                .partition_point(|(position, _)| *position <= start);
            for (_, changes) in self.deltas.drain(..passed) {
                self.weight = self.weight.saturating_sub(delta_weight(&changes));
            }
        }
    }

    /// Inserts a receipt in place of the previous one, unless it is for an earlier event.
    pub(crate) fn insert_receipt(&mut self, position: StreamPosition, receipt: Receipt) {
        let key = (
            receipt.user_id.clone(),
            receipt.receipt_type.clone(),
            receipt.thread_id.clone(),
        );
        let before = self.latest_receipts.get(&key);
        let before = before.and_then(|position| self.receipts.get(position));
        if before.is_some_and(|before| before.event_order > receipt.event_order) {
            return;
        }
        match self.latest_receipts.insert(key, position) {
            Some(old) => {
                self.receipts.remove(&old);
            }
            None => self.weight += 400,
        }
        self.receipts.insert(position, Arc::new(receipt));
    }

    /// Records the redaction of an event that may have been counted as unread.
    fn record_redaction(&mut self, position: StreamPosition, redacted: &Redacted) {
        // Reactions are not counted, unless by a custom push rule.
        if redacted.pdu.event_type() == "m.reaction" {
            return;
        }
        let mut timeline = self.timeline.iter();
        let original =
            timeline.find(|timeline_event| timeline_event.event().nid == redacted.event_nid);
        if original.is_some_and(|timeline_event| timeline_event.event().redacted_because.is_some())
        {
            return;
        }
        self.recent_redactions.push_back(Arc::new(RecentRedaction {
            redacted_at: position,
            target_order: redacted.history_order,
            original: original.cloned(),
        }));
        if self.recent_redactions.len() > MAX_REDACTIONS
            && let Some(dropped) = self.recent_redactions.pop_front()
        {
            self.redactions_start = dropped.redacted_at;
        }
    }

    /// Replaces an event by its redacted form in the timeline.
    fn redact(&mut self, redacted: &Redacted, because: &Arc<Pdu>) {
        let Redacted { event_nid, pdu, .. } = redacted;
        for timeline_event in &mut self.timeline {
            let mut event = timeline_event.event().clone();
            if event.nid == *event_nid {
                event.pdu = pdu.clone();
                event.redacted_because = Some(because.clone());
            } else if let Some(replaced) = event
                .replaces
                .as_mut()
                .filter(|replaced| replaced.nid == *event_nid)
            {
                replaced.pdu = pdu.clone();
            } else {
                continue;
            }
            *timeline_event = Arc::new(TimelineEvent::new(event));
        }
        for (_, changes) in &mut self.deltas {
            if !changes.iter().any(|change| names(change, *event_nid)) {
                continue;
            }
            for change in Arc::make_mut(changes) {
                for event in [&mut change.from, &mut change.to].into_iter().flatten() {
                    if event.nid == *event_nid {
                        event.pdu = pdu.clone();
                    }
                }
            }
        }
    }
}

/// The position before an event.
fn before(event: &StoredEvent) -> StreamPosition {
    let position = event.position.unwrap_or_default();
    StreamPosition(position.get() - 1)
}

fn names(change: &StateChange, nid: EventNid) -> bool {
    let mut events = [&change.from, &change.to].into_iter().flatten();
    events.any(|event| event.nid == nid)
}

/// Of the events of a delta the new ones are in the state, and the old ones often only here.
fn delta_weight(changes: &[StateChange]) -> usize {
    let old = changes.iter().filter_map(|change| change.from.as_ref());
    old.map(|event| event.pdu.weight()).sum::<usize>() + changes.len() * 64 + 64
}
