//! Records the statements sent to the database.

use std::{
    fmt::{self, Write},
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    instrument::WithSubscriber as _,
    span,
    subscriber::DefaultGuard,
};

/// Records the statements run on this thread until it is dropped. Complete only in a single-threaded
/// test; `BEGIN` is not reported, `COMMIT` is.
#[derive(Debug)]
pub struct Queries {
    statements: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
}

impl Queries {
    /// Starts recording.
    pub fn listen() -> Self {
        add_other_subscribers();
        let statements = Arc::default();
        let recorder = StatementRecorder(Arc::clone(&statements));
        Self {
            statements,
            _guard: tracing::subscriber::set_default(recorder),
        }
    }

    /// The first words of the statements since the last call, in order.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.statements.lock())
    }
}

/// Runs a future and returns the first words of the statements that it sends; those of other tasks
/// are not recorded.
pub async fn queries_of<F: Future>(future: F) -> (F::Output, Vec<String>) {
    add_other_subscribers();
    let statements = Arc::default();
    let output = future
        .with_subscriber(StatementRecorder(Arc::clone(&statements)))
        .await;
    let statements = std::mem::take(&mut *statements.lock());
    (output, statements)
}

/// Lets each thread be asked what it records: with a single subscriber in the process, tracing caches
/// the interest of whichever thread asks first.
fn add_other_subscribers() {
    static OTHER_SUBSCRIBERS: OnceLock<[Dispatch; 2]> = OnceLock::new();
    OTHER_SUBSCRIBERS
        .get_or_init(|| [(); 2].map(|()| Dispatch::new(StatementRecorder(Arc::default()))));
}

/// Records what sqlx reports.
#[derive(Debug)]
struct StatementRecorder(Arc<Mutex<Vec<String>>>);

impl Subscriber for StatementRecorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query" && *metadata.level() <= Level::DEBUG
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut summary = Summary(String::new());
        event.record(&mut summary);
        self.0.lock().push(summary.0);
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

/// The first words of the statement.
struct Summary(String);

impl Visit for Summary {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "summary" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "summary" {
            // Writing to a `String` cannot fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}
