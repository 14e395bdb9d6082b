//! The second counter, for what may be lost on a restart.

use storage::cluster::Process;
use tokio::time::Instant;
use types::EphemeralPosition;

/// How many bits tell processes apart; the others count milliseconds since the epoch.
const PROCESS_BITS: u32 = 10;
const PROCESS: i64 = (1 << PROCESS_BITS) - 1;
/// What one process says reaches the others within this time, in milliseconds, or hardly ever.
const DELAY: i64 = 2_000;

/// Counts in moments, so that what one process has told can be compared with what another one
/// knows. They share the database's clock.
#[derive(Debug)]
pub(crate) struct Counter {
    process: i64,
    started_ms: i64,
    started: Instant,
    last: EphemeralPosition,
}

impl Counter {
    pub(crate) fn new(process: Process) -> Self {
        let mut counter = Self {
            // Numbers of processes are drawn in blocks of 1,024.
            process: (process.number >> PROCESS_BITS) & PROCESS,
            started_ms: process.opened_ms,
            started: Instant::now(),
            last: EphemeralPosition::default(),
        };
        counter.next();
        counter
    }

    /// The position of the last change.
    pub(crate) fn last(&self) -> EphemeralPosition {
        self.last
    }

    /// The position of a change that is made now.
    pub(crate) fn next(&mut self) -> EphemeralPosition {
        self.next_at(self.now_ms())
    }

    /// The position of a change that another process made at a position of its own: about the
    /// same, but after all that was counted here.
    pub(crate) fn next_after(&mut self, theirs: EphemeralPosition) -> EphemeralPosition {
        let now = self.now_ms();
        self.next_at((theirs.get() >> PROCESS_BITS).clamp(now - DELAY, now + DELAY))
    }

    fn next_at(&mut self, moment: i64) -> EphemeralPosition {
        let moment = moment.max((self.last.get() >> PROCESS_BITS) + 1);
        self.last = EphemeralPosition((moment << PROCESS_BITS) | self.process);
        self.last
    }

    /// What is news to a client that another process, or this one, told everything up to `since`.
    pub(crate) fn news_since(&self, since: EphemeralPosition) -> EphemeralPosition {
        if self.is_ours(since) {
            return since;
        }
        let moment = since.get() >> PROCESS_BITS;
        if moment > self.now_ms() + DELAY {
            // Of a time that never was: the clock was set back, or somebody made it up.
            return EphemeralPosition::default();
        }
        EphemeralPosition(since.get() | PROCESS)
    }

    /// What is worth telling such a client with the next news: what may have crossed on the way
    /// between the processes, too.
    pub(crate) fn worth_telling_since(&self, since: EphemeralPosition) -> EphemeralPosition {
        if self.is_ours(since) {
            return since;
        }
        let moment = (since.get() >> PROCESS_BITS).saturating_sub(DELAY);
        EphemeralPosition(moment.max(0) << PROCESS_BITS)
    }

    fn is_ours(&self, position: EphemeralPosition) -> bool {
        position.get() & PROCESS == self.process && position <= self.last
    }

    fn now_ms(&self) -> i64 {
        let since_start = i64::try_from(self.started.elapsed().as_millis());
        self.started_ms
            .saturating_add(since_start.unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(number: i64) -> Counter {
        let opened_ms = 1_700_000_000_000;
        Counter::new(Process {
            number: number << PROCESS_BITS,
            opened_ms,
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
    fn what_the_process_has_told_itself_is_not_told_again() {
        let mut counter = counter(1);
        let told = counter.next();
        assert_eq!(counter.news_since(told), told);
        assert_eq!(counter.worth_telling_since(told), told);
    }

    #[test]
    fn what_another_process_has_told_is_no_news_here() {
        let (mut here, mut there) = (counter(1), counter(2));
        let change = here.next();
        let same_change = there.next_after(change);
        assert!(same_change <= there.news_since(change));
        assert!(change <= here.news_since(same_change));
        // It might be another one that crossed with it.
        assert!(same_change > there.worth_telling_since(change));
        assert!(there.next() > there.news_since(change));
    }

    #[test]
    fn positions_of_no_time_mean_nothing() {
        let mut counter = counter(1);
        let invented = EphemeralPosition(i64::MAX);
        assert_eq!(counter.news_since(invented).get(), 0);
        let before = counter.next();
        let after = counter.next_after(invented);
        assert!(after > before);
        assert!(after.get() - before.get() <= (2 * DELAY) << PROCESS_BITS);
    }

    #[test]
    fn after_a_restart_everything_is_news() {
        let before = counter(1).last();
        let mut restarted = Counter::new(Process {
            number: 1025 << PROCESS_BITS,
            opened_ms: 1_700_000_001_000,
        });
        assert!(restarted.next() > restarted.news_since(before));
    }
}
