//! A time limit for each test: a test that hangs ends its process, and the run fails with its name.

use std::{
    cell::Cell,
    io::{self, Write as _},
    process,
    sync::OnceLock,
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// The limit of tests that set none; many tests run at a time, perhaps on a busy machine.
pub(crate) const DEFAULT: Duration = Duration::from_mins(3);

const CHECK_INTERVAL: Duration = Duration::from_millis(200);

static RUNNING: Mutex<Vec<Running>> = Mutex::new(Vec::new());

thread_local! {
    static GUARD: Cell<Option<Guard>> = const { Cell::new(None) };
}

struct Running {
    thread: ThreadId,
    name: String,
    deadline: Instant,
}

/// Ends the limit together with the thread, as each test has a thread of its own.
struct Guard(ThreadId);

impl Drop for Guard {
    fn drop(&mut self) {
        RUNNING.lock().retain(|test| test.thread != self.0);
    }
}

/// Gives the test of this thread that much time from now on, or leaves it the time it has if that is more.
///
/// [`crate::database`] calls this with three minutes.
#[expect(
    clippy::disallowed_methods,
    reason = "a test may pause the other clock"
)]
pub fn time_limit(limit: Duration) {
    static WATCHDOG: OnceLock<()> = OnceLock::new();
    let (thread, deadline) = (thread::current(), Instant::now() + limit);
    {
        let mut running = RUNNING.lock();
        if let Some(test) = running.iter_mut().find(|test| test.thread == thread.id()) {
            test.deadline = test.deadline.max(deadline);
        } else {
            running.push(Running {
                thread: thread.id(),
                name: thread.name().unwrap_or("?").to_owned(),
                deadline,
            });
            GUARD.set(Some(Guard(thread.id())));
        }
    }
    WATCHDOG.get_or_init(|| drop(thread::spawn(watch)));
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test may pause the other clock"
)]
fn watch() {
    loop {
        thread::sleep(CHECK_INTERVAL);
        let now = Instant::now();
        if let Some(test) = RUNNING.lock().iter().find(|test| test.deadline < now) {
            let message = format!("\ntest {} did not end within its time limit\n", test.name);
            // `eprintln!` would be captured with the output of the test that started this thread. The process
            // ends whether or not the message can be written.
            let _written = io::stderr().write_all(message.as_bytes());
            process::exit(101);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, Output},
        thread::ThreadId,
        time::Duration,
    };

    use super::time_limit;

    const VARIABLE: &str = "CHANCERY_TEST_HANG";

    /// Hangs in the process that the next test starts.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "one test tells another one to hang"
    )]
    fn hangs_if_told_to() {
        if std::env::var(VARIABLE).is_ok() {
            time_limit(Duration::ZERO);
            loop {
                std::thread::park();
            }
        }
    }

    #[test]
    fn a_hanging_test_ends_its_process_and_is_named() {
        let Output { status, stderr, .. } = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "time_limit::tests::hangs_if_told_to"])
            .env(VARIABLE, "1")
            .output()
            .expect("it runs");
        assert_eq!(status.code(), Some(101));
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(stderr.contains("hangs_if_told_to did not end"), "{stderr}");
    }

    #[test]
    fn the_limit_ends_with_the_thread() {
        let test = std::thread::spawn(|| {
            time_limit(Duration::from_hours(1));
            time_limit(Duration::from_hours(2));
            let id = std::thread::current().id();
            assert!(is_limited(id));
            id
        });
        assert!(!is_limited(test.join().expect("it ends")));
    }

    fn is_limited(thread: ThreadId) -> bool {
        super::RUNNING
            .lock()
            .iter()
            .any(|test| test.thread == thread)
    }
}
