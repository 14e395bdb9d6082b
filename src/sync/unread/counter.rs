//! Counting in one room for one user.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
};

use event::{
    Pdu, Relation,
    push::{self, PushDecision},
};
use live::{Count, ReadUpTo, Room, Tally, Thread};
use ruma::{OwnedEventId, UserId, push::FlattenedJson};
use storage::events::Unread;
use types::StreamPosition;

use super::{HOPS, judge::Judge};
use crate::v3::Ask;

/// Where an event belongs.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Thread(Thread),
    /// Where this event belongs, which is not known yet.
    With(OwnedEventId),
}

impl Place {
    /// The place of an event, by what it relates to.
    pub(super) fn of(relation: Option<Relation>) -> Self {
        match relation {
            Some(relation) if relation.is_thread() => Self::Thread(Thread::Of(relation.event_id)),
            Some(relation) => Self::With(relation.event_id),
            None => Self::Thread(Thread::Main),
        }
    }
}

/// An event that changes the count.
struct Noted {
    position: StreamPosition,
    place: Place,
    meaning: Meaning,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// It is unread, and the user is to be notified.
    Unread { stands_out: bool },
    /// The user sent it, and so has read its thread up to here.
    Own,
}

/// What of the last count is used.
enum Basis {
    /// Nothing: all that is unread is counted, from memory or the database.
    Nothing { in_memory: bool },
    /// All but what was counted in these threads, which were read further since.
    AllBut(BTreeSet<Thread>, StreamPosition),
}

/// A count under way.
pub(super) struct Counter<'a> {
    room: &'a Room,
    user_id: &'a UserId,
    judge: Judge<'a>,
    until: StreamPosition,
    wishes: StreamPosition,
    read: ReadUpTo,
    basis: Basis,
    counts: BTreeMap<Thread, Count>,
    noted: Vec<Noted>,
}

impl<'a> Counter<'a> {
    /// Begins with what was counted before, as far as it holds, and counts what memory holds.
    pub(super) fn new(
        ask: &Ask<'a>,
        room: &'a Room,
        joined: StreamPosition,
        before: Option<&Tally>,
    ) -> Self {
        let user = &*ask.look.user;
        let read = room.read_up_to(user.user_id(), joined);
        let wishes = user.wishes_changed();
        let in_memory = room.reaches(read.everywhere);
        let mut counter = Self {
            room,
            user_id: &ask.request.user_id,
            judge: Judge::new(user, room),
            until: ask.look.position,
            wishes,
            read,
            basis: Basis::Nothing { in_memory },
            counts: BTreeMap::new(),
            noted: Vec::new(),
        };
        if let Some(before) = before {
            counter.go_on_from(before);
        }
        counter.recall();
        counter
    }

    /// Makes the last count the basis, as far as it holds.
    fn go_on_from(&mut self, before: &Tally) {
        let holds = before.wishes == self.wishes
            && self.room.continues(before.until)
            && !self.read.falls_behind(&before.read);
        if !holds {
            return;
        }
        let again: BTreeSet<Thread> = before
            .counts
            .keys()
            .filter(|thread| self.read.of(thread) != before.read.of(thread))
            .cloned()
            .collect();
        if !again
            .iter()
            .all(|thread| self.room.reaches(self.read.of(thread)))
        {
            return;
        }
        let mut counts = before.counts.clone();
        counts.retain(|thread, _| !again.contains(thread));
        if self.take_off_undone(&mut counts, &again, before.until) {
            self.counts = counts;
            self.basis = Basis::AllBut(again, before.until);
        }
    }

    /// Takes what was redacted since off the counts that are kept; `false` if it is not known what
    /// it was.
    fn take_off_undone(
        &mut self,
        counts: &mut BTreeMap<Thread, Count>,
        again: &BTreeSet<Thread>,
        until: StreamPosition,
    ) -> bool {
        let room = self.room;
        for undone in room.undone_after(until) {
            let target = undone.target;
            if counts.is_empty() || target > until || target <= self.read.everywhere {
                continue;
            }
            let Some(was) = undone.was.as_ref().filter(|_| room.reaches(target)) else {
                return false;
            };
            let Place::Thread(thread) = self.place(was.pdu()) else {
                return false;
            };
            let counted = target > self.read.of(&thread)
                && !again.contains(&thread)
                && !self.sent_into(&thread, target, until);
            if !counted || was.pdu().sender() == self.user_id {
                continue;
            }
            let notice = self.judge.judge(was.pdu(), was.flattened());
            if notice == PushDecision::Silent {
                continue;
            }
            if let Some(count) = counts.get_mut(&thread) {
                count.notifications = count.notifications.saturating_sub(1);
                let highlights = u64::from(notice == PushDecision::Highlight);
                count.highlights = count.highlights.saturating_sub(highlights);
                if count.notifications == 0 {
                    counts.remove(&thread);
                }
            }
        }
        true
    }

    /// Whether the user sent something into a thread between two positions that memory reaches.
    fn sent_into(&self, thread: &Thread, after: StreamPosition, until: StreamPosition) -> bool {
        self.room.timeline().any(|moment| {
            let position = moment.event().position;
            let pdu = moment.pdu();
            after < position
                && position <= until
                && pdu.sender() == self.user_id
                && !pdu.is_state()
                && matches!(self.place(pdu), Place::Thread(of) if of == *thread)
        })
    }

    /// Whether the count is what it was.
    pub(super) fn adds_nothing_to(&self, before: &Tally) -> bool {
        self.until <= before.until && self.read == before.read && self.wishes == before.wishes
    }

    /// What is to be read from the database.
    pub(super) fn wants(&self) -> Option<Unread> {
        matches!(self.basis, Basis::Nothing { in_memory: false }).then(|| Unread {
            room_nid: self.room.room_nid(),
            after: self.read.everywhere,
            after_main: self.read.of(&Thread::Main),
            until: self.until,
        })
    }

    /// Takes in an event from the database.
    pub(super) fn read(&mut self, position: StreamPosition, pdu: &Pdu) {
        // Of what was redacted only the user's own is read.
        self.see(position, pdu, false, || push::flatten(pdu));
    }

    /// The events whose threads are not known.
    pub(super) fn unplaced(&self) -> impl Iterator<Item = &OwnedEventId> {
        self.noted.iter().filter_map(|noted| match &noted.place {
            Place::With(parent) => Some(parent),
            Place::Thread(_) => None,
        })
    }

    /// Goes one relation further for events whose threads are not known.
    pub(super) fn follow(&mut self, place: impl Fn(&OwnedEventId) -> Place) {
        for noted in &mut self.noted {
            if let Place::With(parent) = &noted.place {
                noted.place = place(parent);
            }
        }
    }

    /// The count.
    pub(super) fn finish(mut self) -> Tally {
        let mut counts = std::mem::take(&mut self.counts);
        let mut own: BTreeMap<Thread, StreamPosition> = BTreeMap::new();
        let mut unread = Vec::new();
        for noted in std::mem::take(&mut self.noted) {
            // What is further away from a thread counts as outside of all.
            let thread = match noted.place {
                Place::Thread(thread) => thread,
                Place::With(_) => Thread::Main,
            };
            if !self.counts_in(&thread, noted.position) {
                continue;
            }
            match noted.meaning {
                Meaning::Own => {
                    let last = own.entry(thread).or_default();
                    *last = noted.position.max(*last);
                }
                Meaning::Unread { stands_out } => unread.push((thread, noted.position, stands_out)),
            }
        }
        counts.retain(|thread, _| !own.contains_key(thread));
        for (thread, position, stands_out) in unread {
            let up_to = own.get(&thread).copied().unwrap_or_default();
            if position > up_to {
                let count = counts.entry(thread).or_default();
                count.notifications += 1;
                count.highlights += u64::from(stands_out);
            }
        }
        Tally {
            until: self.until,
            wishes: self.wishes,
            read: self.read,
            counts,
        }
    }

    /// Counts what memory holds beyond the basis.
    fn recall(&mut self) {
        let after = match &self.basis {
            Basis::Nothing { in_memory: false } => return,
            Basis::Nothing { in_memory: true } => self.read.everywhere,
            Basis::AllBut(again, until) => {
                let again = again.iter().map(|thread| self.read.of(thread));
                again.chain([*until]).min().unwrap_or(*until)
            }
        };
        let room = self.room;
        let recent = room.timeline().rev();
        let recent = recent.take_while(|moment| moment.event().position > after);
        for moment in recent {
            let event = moment.event();
            let is_gone = event.redacted_because.is_some();
            self.see(event.position, moment.pdu(), is_gone, || moment.flattened());
        }
    }

    fn see<F: Borrow<FlattenedJson>>(
        &mut self,
        position: StreamPosition,
        pdu: &Pdu,
        is_gone: bool,
        flattened: impl FnOnce() -> F,
    ) {
        let place = self.place(pdu);
        if !self.is_wanted(position, &place) {
            return;
        }
        let meaning = if pdu.sender() == self.user_id {
            // A change of name writes to every room, and says nothing of having read them.
            if pdu.is_state() {
                return;
            }
            // Who sent what was redacted had read what was before it all the same.
            Meaning::Own
        } else if is_gone {
            return;
        } else {
            match self.judge.judge(pdu, flattened().borrow()) {
                PushDecision::Silent => return,
                notice => Meaning::Unread {
                    stands_out: notice == PushDecision::Highlight,
                },
            }
        };
        self.noted.push(Noted {
            position,
            place,
            meaning,
        });
    }

    /// Whether an event may be neither read nor counted already.
    fn is_wanted(&self, position: StreamPosition, place: &Place) -> bool {
        position <= self.until
            && match place {
                Place::Thread(thread) => self.counts_in(thread, position),
                Place::With(_) => position > self.read.everywhere,
            }
    }

    /// Whether an event of a thread is neither read nor counted already.
    fn counts_in(&self, thread: &Thread, position: StreamPosition) -> bool {
        let is_new = match &self.basis {
            Basis::Nothing { .. } => true,
            Basis::AllBut(again, until) => position > *until || again.contains(thread),
        };
        is_new && position > self.read.of(thread)
    }

    /// Where an event belongs, as far as memory tells.
    fn place(&self, pdu: &Pdu) -> Place {
        let mut place = Place::of(pdu.relation());
        for _ in 0..HOPS {
            let Place::With(parent) = &place else {
                break;
            };
            let parent = self
                .room
                .timeline()
                .find(|moment| moment.pdu().event_id() == parent);
            match parent {
                Some(moment) => place = Place::of(moment.pdu().relation()),
                None => break,
            }
        }
        place
    }
}
