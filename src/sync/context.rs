//! The context in which the streams write one response.

use live::{Reader, Subscription, View};
use storage::Database;
use types::{StreamPosition, SyncToken};

use crate::{Request, event_writer::EventWriter, filter::Filter};

/// What the streams need to write a response.
pub(crate) struct SyncContext<'a> {
    pub(crate) request: &'a Request,
    pub(crate) filter: &'a Filter,
    pub(crate) database: &'a Database,
    pub(crate) subscription: &'a Subscription,
    pub(crate) view: &'a View,
    /// The request's token, as far as this process can interpret it.
    pub(crate) since: Option<SyncToken>,
    pub(crate) now_ms: u64,
}

impl<'a> SyncContext<'a> {
    /// Stream changes after this are new.
    pub(crate) fn since_stream(&self) -> Option<StreamPosition> {
        self.since.map(|since| since.stream)
    }

    pub(crate) fn writer(&self) -> EventWriter<'a> {
        let reader = Reader {
            user_id: &self.request.user_id,
            device_id: Some(&self.request.device_id),
        };
        EventWriter {
            reader,
            filter: self.filter,
            now_ms: self.now_ms,
        }
    }
}
