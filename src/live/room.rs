//! A room of the recent past: its state, its last events, its receipts.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use event::{Pdu, State};
use imbl::OrdMap;
use ruma::{
    OwnedRoomId, OwnedUserId, UserId, events::room::member::MembershipState,
    push::PushConditionPowerLevelsCtx,
};
use storage::{
    StoredEvent, Verdict,
    stream::{EventChange, Receipt, Redacted},
};
use types::{RoomNid, StreamPosition};

use crate::{
    members::{Heroes, Members},
    moment::Moment,
    sight::Sight,
    unread::{ReadUpTo, Thread, Undone},
};

/// Events that a room keeps at hand.
const TIMELINE: usize = 64;
/// Redactions that a room keeps at hand.
const UNDONE: usize = 32;

/// A room as it stands at a position; a clone shares what is large.
#[derive(Clone, Debug)]
pub struct Room {
    pub(crate) nid: RoomNid,
    pub(crate) id: OwnedRoomId,
    pub(crate) state: State,
    pub(crate) members: Members,
    timeline: VecDeque<Arc<Moment>>,
    /// Every accepted event after this is in the timeline.
    complete_after: StreamPosition,
    receipts: OrdMap<StreamPosition, Arc<Receipt>>,
    latest_receipts: OrdMap<ReceiptKey, StreamPosition>,
    /// The last redactions of what may have been counted as unread.
    undone: VecDeque<Arc<Undone>>,
    /// Every such redaction after this is among them.
    undone_complete_after: StreamPosition,
    /// The room was read from the database as it stood here.
    pub(crate) loaded_at: StreamPosition,
    pub(crate) heroes: OnceLock<Heroes>,
    push_levels: OnceLock<Option<PushConditionPowerLevelsCtx>>,
    pub(crate) weight: usize,
}

type ReceiptKey = (OwnedUserId, String, String);

impl Room {
    /// A room from what the database holds at `loaded_at`: its current state, its last `limit`
    /// events, oldest first, and its receipts.
    pub(crate) fn new(
        (nid, id): (RoomNid, OwnedRoomId),
        state: Vec<StoredEvent>,
        recent: Vec<StoredEvent>,
        limit: usize,
        loaded_at: StreamPosition,
    ) -> Self {
        let complete_after = match recent.first() {
            Some(first) if recent.len() >= limit => StreamPosition(first.position.get() - 1),
            _ => StreamPosition(i64::MIN),
        };
        let state: State = state.into_iter().map(|event| event.pdu).collect();
        let mut room = Self {
            nid,
            id,
            members: Members::count(&state),
            weight: 1024 + state.iter().map(|pdu| pdu.weight() + 160).sum::<usize>(),
            state,
            timeline: VecDeque::new(),
            complete_after,
            receipts: OrdMap::new(),
            latest_receipts: OrdMap::new(),
            undone: VecDeque::new(),
            undone_complete_after: loaded_at,
            push_levels: OnceLock::new(),
            loaded_at,
            heroes: OnceLock::new(),
        };
        for event in recent {
            room.push(event);
        }
        room
    }

    /// The room's number.
    pub fn room_nid(&self) -> RoomNid {
        self.nid
    }

    /// The room's id.
    pub fn room_id(&self) -> &OwnedRoomId {
        &self.id
    }

    /// The current state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// How many members there are.
    pub fn members(&self) -> Members {
        self.members
    }

    /// The first members, by whom a room without a name is called.
    pub fn heroes(&self) -> &Heroes {
        self.heroes.get_or_init(|| Heroes::of(&self.state))
    }

    /// Whether every accepted event after the position is at hand.
    pub fn reaches(&self, after: StreamPosition) -> bool {
        self.complete_after <= after
    }

    /// The position after which every accepted event is at hand.
    pub fn complete_after(&self) -> StreamPosition {
        self.complete_after
    }

    /// The events at hand, oldest first.
    pub fn timeline(&self) -> impl DoubleEndedIterator<Item = &Arc<Moment>> {
        self.timeline.iter()
    }

    /// Receipts that changed after the position, oldest first.
    pub fn receipts_after(&self, after: StreamPosition) -> impl Iterator<Item = &Receipt> {
        let after = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        self.receipts.range(after).map(|(_, receipt)| &**receipt)
    }

    /// How far a user has read, who joined at a position.
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
            read.receipt(thread, receipt.event_position);
        }
        read
    }

    /// Whether it is known what happened to a count that ended at a position.
    pub fn continues(&self, until: StreamPosition) -> bool {
        self.undone_complete_after <= until && self.reaches(until)
    }

    /// What was redacted after a position and may have been counted as unread.
    pub fn undone_after(&self, until: StreamPosition) -> impl Iterator<Item = &Undone> {
        self.undone
            .iter()
            .map(AsRef::as_ref)
            .filter(move |undone| undone.at > until)
    }

    /// Who may notify everybody.
    pub fn push_levels(&self) -> Option<&PushConditionPowerLevelsCtx> {
        self.push_levels
            .get_or_init(|| event::push::power_levels(&self.state))
            .as_ref()
    }

    /// The last event or receipt.
    pub(crate) fn last_change(&self) -> StreamPosition {
        let event = self.timeline.back().map(|moment| moment.event().position);
        let receipt = self.receipts.get_max().map(|(position, _)| *position);
        event.max(receipt).unwrap_or_default()
    }

    /// What a user may see of the events at hand, read from them and the current state.
    pub fn sight(&self, user_id: &UserId) -> Sight {
        let of = |kind: &str, state_key: &str| -> Vec<&StoredEvent> {
            self.timeline
                .iter()
                .map(|moment| moment.event())
                .filter(|event| {
                    event.pdu.event_type() == kind && event.pdu.state_key() == Some(state_key)
                })
                .collect()
        };
        let current =
            |kind: &str, state_key: &str| self.state.get(kind, state_key).map(|pdu| &**pdu);
        Sight::recent(
            (
                &of("m.room.member", user_id.as_str()),
                current("m.room.member", user_id.as_str()),
            ),
            (
                &of("m.room.history_visibility", ""),
                current("m.room.history_visibility", ""),
            ),
        )
    }

    /// Adds a committed event. Returns `false` when the room must be read anew: something was
    /// redacted, and what is left of it is not known here.
    pub(crate) fn apply(&mut self, change: &EventChange) -> bool {
        let event = &change.event;
        if event.verdict != Verdict::Accepted {
            return true;
        }
        if change.current && event.pdu.is_state() {
            self.put_state(&event.pdu);
        }
        self.push(event.clone());
        match &change.redacts {
            Some(redacted) => {
                self.undo(event.position, redacted);
                self.redact(redacted, &event.pdu);
                true
            }
            None => event.pdu.event_type() != "m.room.redaction" || event.pdu.redacts().is_none(),
        }
    }

    fn put_state(&mut self, pdu: &Arc<Pdu>) {
        self.weight += pdu.weight() + 160;
        let old = self.state.insert(pdu.clone());
        if let Some(old) = &old {
            self.weight = self.weight.saturating_sub(old.weight() + 160);
        }
        if matches!(pdu.event_type(), "m.room.power_levels" | "m.room.create") {
            self.push_levels = OnceLock::new();
        }
        if pdu.event_type() == "m.room.member" {
            let membership = |pdu: &Arc<Pdu>| pdu.membership().unwrap_or(MembershipState::Leave);
            self.members
                .change(old.as_ref().map(membership).as_ref(), &membership(pdu));
            self.heroes = OnceLock::new();
        }
    }

    fn push(&mut self, event: StoredEvent) {
        let moment = Moment::new(event);
        self.weight += moment.weight();
        self.timeline.push_back(Arc::new(moment));
        if self.timeline.len() > TIMELINE
            && let Some(dropped) = self.timeline.pop_front()
        {
            self.weight = self.weight.saturating_sub(dropped.weight());
            self.complete_after = dropped.event().position;
        }
    }

    /// Takes a receipt in; the one it replaces goes. One that goes back is passed over.
    pub(crate) fn receipt(&mut self, position: StreamPosition, receipt: Receipt) {
        let key = (
            receipt.user_id.clone(),
            receipt.receipt_type.clone(),
            receipt.thread_id.clone(),
        );
        let before = self.latest_receipts.get(&key);
        let before = before.and_then(|position| self.receipts.get(position));
        if before.is_some_and(|before| before.event_position > receipt.event_position) {
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

    /// Notes that a redaction took away what may have been counted as unread.
    fn undo(&mut self, at: StreamPosition, redacted: &Redacted) {
        // Reactions come and go, and nobody is notified of one unless by a rule of his own.
        if redacted.pdu.event_type() == "m.reaction" {
            return;
        }
        let mut timeline = self.timeline.iter();
        let was = timeline.find(|moment| moment.event().nid == redacted.event_nid);
        if was.is_some_and(|moment| moment.event().redacted_because.is_some()) {
            return;
        }
        self.undone.push_back(Arc::new(Undone {
            at,
            target: redacted.position,
            was: was.cloned(),
        }));
        if self.undone.len() > UNDONE
            && let Some(dropped) = self.undone.pop_front()
        {
            self.undone_complete_after = dropped.at;
        }
    }

    /// Leaves of an event what a redaction left, wherever it is at hand.
    fn redact(&mut self, redacted: &Redacted, because: &Arc<Pdu>) {
        let Redacted { event_nid, pdu, .. } = redacted;
        if let Some(state_key) = pdu.state_key() {
            let current = self.state.get(pdu.event_type(), state_key);
            if current.is_some_and(|current| current.event_id() == pdu.event_id()) {
                self.put_state(pdu);
            }
        }
        for moment in &mut self.timeline {
            let mut event = moment.event().clone();
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
            *moment = Arc::new(Moment::new(event));
        }
    }
}
