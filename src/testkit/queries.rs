//! Counts the statements that reach the database.

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

/// Listens to the statements that are run on this thread, until it is dropped. Only a test on one
/// thread hears all; `BEGIN` is not reported, `COMMIT` is.
#[derive(Debug)]
pub struct Queries {
    heard: Arc<Mutex<Vec<String>>>,
    _listening: DefaultGuard,
}

impl Queries {
    /// Begins to listen.
    pub fn listen() -> Self {
        let heard = Arc::default();
        let listener = Listener(Arc::clone(&heard));
        Self {
            heard,
            _listening: tracing::subscriber::set_default(listener),
        }
    }

    /// The beginnings of the statements since the last call, in order.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock())
    }
}

/// Runs a future and tells the beginnings of the statements that it sends to the database itself;
/// what other tasks send meanwhile is not heard.
pub async fn queries_of<F: Future>(future: F) -> (F::Output, Vec<String>) {
    // With a single subscriber in the process, whether statements are announced at all would be
    // decided by whichever thread asks first.
    static OTHERS: OnceLock<[Dispatch; 2]> = OnceLock::new();
    OTHERS.get_or_init(|| [(); 2].map(|()| Dispatch::new(Listener(Arc::default()))));
    let heard = Arc::default();
    let output = future.with_subscriber(Listener(Arc::clone(&heard))).await;
    let heard = std::mem::take(&mut *heard.lock());
    (output, heard)
}

/// Hears what sqlx reports.
#[derive(Debug)]
struct Listener(Arc<Mutex<Vec<String>>>);

impl Subscriber for Listener {
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
