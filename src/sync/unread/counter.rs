//! Counting in one room for one user.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
};

use event::{
    Pdu, Relation,
    push::{self, Notice},
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
        let (basis, counts) = basis(room, &read, wishes, before);
        let mut counter = Self {
            room,
            user_id: &ask.request.user_id,
            judge: Judge::new(user, room),
            until: ask.look.position,
            wishes,
            read,
            basis,
            counts,
            noted: Vec::new(),
        };
        counter.recall();
        counter
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
        self.see(position, pdu, || push::flatten(pdu));
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
    pub(super) fn finish(self) -> Tally {
        let mut counts = self.counts;
        let mut own: BTreeMap<Thread, StreamPosition> = BTreeMap::new();
        let mut unread = Vec::new();
        for noted in self.noted {
            // What is further away from a thread counts as outside of all.
            let thread = match noted.place {
                Place::Thread(thread) => thread,
                Place::With(_) => Thread::Main,
            };
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
            if position > up_to.max(self.read.of(&thread)) {
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
        for moment in recent.filter(|moment| moment.event().redacted_because.is_none()) {
            self.see(moment.event().position, moment.pdu(), || moment.flattened());
        }
    }

    fn see<F: Borrow<FlattenedJson>>(
        &mut self,
        position: StreamPosition,
        pdu: &Pdu,
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
            Meaning::Own
        } else {
            match self.judge.judge(pdu, flattened().borrow()) {
                Notice::Silent => return,
                notice => Meaning::Unread {
                    stands_out: notice == Notice::Highlight,
                },
            }
        };
        self.noted.push(Noted {
            position,
            place,
            meaning,
        });
    }

    /// Whether an event is neither read nor counted already.
    fn is_wanted(&self, position: StreamPosition, place: &Place) -> bool {
        let up_to = match place {
            Place::Thread(thread) => self.read.of(thread),
            Place::With(_) => self.read.everywhere,
        };
        let is_new = match &self.basis {
            Basis::Nothing { .. } => true,
            Basis::AllBut(again, until) => {
                position > *until
                    || matches!(place, Place::Thread(thread) if again.contains(thread))
            }
        };
        is_new && position > up_to && position <= self.until
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

/// What of the last count still holds.
fn basis(
    room: &Room,
    read: &ReadUpTo,
    wishes: StreamPosition,
    before: Option<&Tally>,
) -> (Basis, BTreeMap<Thread, Count>) {
    let from_nothing = || {
        let in_memory = room.reaches(read.everywhere);
        (Basis::Nothing { in_memory }, BTreeMap::new())
    };
    let Some(before) = before else {
        return from_nothing();
    };
    let holds = before.wishes == wishes
        && room.count_holds(before.until)
        && !read.falls_behind(&before.read);
    if !holds {
        return from_nothing();
    }
    let mut counts = before.counts.clone();
    let again: BTreeSet<Thread> = counts
        .keys()
        .filter(|thread| read.of(thread) != before.read.of(thread))
        .cloned()
        .collect();
    if !again.iter().all(|thread| room.reaches(read.of(thread))) {
        return from_nothing();
    }
    counts.retain(|thread, _| !again.contains(thread));
    (Basis::AllBut(again, before.until), counts)
}
