//! The positions of ephemeral changes (typing, presence), which are lost on a restart.

use storage::cluster::Process;
use types::EphemeralPosition;

/// How many bits identify the process; the others count milliseconds since the epoch.
const PROCESS_BITS: u32 = 10;
const PROCESS_MASK: i64 = (1 << PROCESS_BITS) - 1;
/// The longest time that a message between processes takes, in milliseconds.
const MAX_DELAY_MS: i64 = 2_000;

/// Issues positions made of a timestamp and the process, so that positions of several processes
/// can be compared: all use the database's clock.
#[derive(Debug)]
pub(crate) struct EphemeralCounter {
    process: Process,
    last: EphemeralPosition,
}

impl EphemeralCounter {
    pub(crate) fn new(process: Process) -> Self {
        let mut counter = Self {
            process,
            last: EphemeralPosition::default(),
        };
        counter.next();
        counter
    }

    /// The number of this process.
    pub(crate) fn process(&self) -> i64 {
        self.process.number
    }

    /// The bits that identify this process in its positions.
    fn tag(&self) -> i64 {
        // Numbers of processes are drawn in blocks of 1,024.
        (self.process.number >> PROCESS_BITS) & PROCESS_MASK
    }

    /// The position of the last change.
    pub(crate) fn last(&self) -> EphemeralPosition {
        self.last
    }

    /// The position of a change that is made now.
    pub(crate) fn next(&mut self) -> EphemeralPosition {
        self.next_at(self.now_ms())
    }

    /// The position here of a change that another process made at `theirs`: about the same, but
    /// later than all positions issued here.
    pub(crate) fn next_after(&mut self, theirs: EphemeralPosition) -> EphemeralPosition {
        let now = self.now_ms();
        self.next_at((theirs.get() >> PROCESS_BITS).clamp(now - MAX_DELAY_MS, now + MAX_DELAY_MS))
    }

    fn next_at(&mut self, timestamp_ms: i64) -> EphemeralPosition {
        let timestamp_ms = timestamp_ms.max((self.last.get() >> PROCESS_BITS) + 1);
        self.last = EphemeralPosition((timestamp_ms << PROCESS_BITS) | self.tag());
        self.last
    }

    /// The position after which changes notify a client that has received everything up to
    /// `since`, from this process or another.
    pub(crate) fn changes_since(&self, since: EphemeralPosition) -> EphemeralPosition {
        if self.is_ours(since) {
            return since;
        }
        let timestamp_ms = since.get() >> PROCESS_BITS;
        if timestamp_ms > self.now_ms() + MAX_DELAY_MS {
            // A time in the future: the clock was set back, or the token is invented.
            return EphemeralPosition::default();
        }
        EphemeralPosition(since.get() | PROCESS_MASK)
    }

    /// The position after which changes are returned to such a client in the next response:
    /// includes those that the other process may not have received when it issued the token.
    pub(crate) fn possibly_missed_since(&self, since: EphemeralPosition) -> EphemeralPosition {
        if self.is_ours(since) {
            return since;
        }
        let timestamp_ms = (since.get() >> PROCESS_BITS).saturating_sub(MAX_DELAY_MS);
        EphemeralPosition(timestamp_ms.max(0) << PROCESS_BITS)
    }

    fn is_ours(&self, position: EphemeralPosition) -> bool {
        position.get() & PROCESS_MASK == self.tag() && position <= self.last
    }

    fn now_ms(&self) -> i64 {
        self.process.now_ms()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn counter(number: i64) -> EphemeralCounter {
        let opened_ms = 1_700_000_000_000;
        EphemeralCounter::new(Process {
            number: number << PROCESS_BITS,
            opened_ms,
            opened: Instant::now(),
        })
    }

    #[test]
    fn each_change_has_a_later_position() {
        let mut counter = counter(1);
        let mut last = counter.last();
        for _ in 0..100 {
            let next = counter.next();
            assert!(next > last && next == counter.last());
            last = next;
        }
    }

    #[test]
    fn changes_this_process_returned_are_not_returned_again() {
        let mut counter = counter(1);
        let returned = counter.next();
        assert_eq!(counter.changes_since(returned), returned);
        assert_eq!(counter.possibly_missed_since(returned), returned);
    }

    #[test]
    fn changes_another_process_returned_are_not_new_here() {
        let (mut here, mut there) = (counter(1), counter(2));
        let change = here.next();
        let same_change = there.next_after(change);
        assert!(same_change <= there.changes_since(change));
        assert!(change <= here.changes_since(same_change));
        // It might be another one that crossed with it.
        assert!(same_change > there.possibly_missed_since(change));
        assert!(there.next() > there.changes_since(change));
    }

    #[test]
    fn positions_in_the_future_are_ignored() {
        let mut counter = counter(1);
        let invented = EphemeralPosition(i64::MAX);
        assert_eq!(counter.changes_since(invented).get(), 0);
        let before = counter.next();
        let after = counter.next_after(invented);
        assert!(after > before);
        assert!(after.get() - before.get() <= (2 * MAX_DELAY_MS) << PROCESS_BITS);
    }

    #[test]
    fn after_a_restart_every_change_is_new() {
        let before = counter(1).last();
        let mut restarted = EphemeralCounter::new(Process {
            number: 1025 << PROCESS_BITS,
            opened_ms: 1_700_000_001_000,
            opened: Instant::now(),
        });
        assert!(restarted.next() > restarted.changes_since(before));
    }
}
