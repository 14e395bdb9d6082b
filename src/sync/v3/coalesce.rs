//! Coalesces identical initial requests: they share one computation.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::request::Request;
use crate::Error;

type Shared = OnceCell<Arc<str>>;

/// The computations in progress.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<HashMap<String, Weak<Shared>>>);

impl InFlight {
    /// Computes a response, or waits for the same computation in progress. If that one is
    /// cancelled, the next request takes over.
    pub(crate) async fn coalesce<F>(
        &self,
        request: &Request,
        compute: impl FnOnce() -> F,
    ) -> Result<String, Error>
    where
        F: Future<Output = Result<String, Error>>,
    {
        let shared = self.entry(request);
        let response = shared
            .get_or_try_init(|| async { compute().await.map(Arc::from) })
            .await?;
        Ok(String::from(&**response))
    }

    fn entry(&self, request: &Request) -> Arc<Shared> {
        let filter = serde_json::to_string(&*request.filter).unwrap_or_default();
        let key = format!(
            "{} {} {} {} {filter}",
            request.user_id, request.device_id, request.full_state, request.use_state_after
        );
        let mut entries = self.0.lock();
        entries.retain(|_, entry| entry.strong_count() > 0);
        // A finished response may be out of date: only computations in progress are shared.
        if let Some(entry) = entries.get(&key).and_then(Weak::upgrade)
            && !entry.initialized()
        {
            return entry;
        }
        let entry = Arc::new(Shared::new());
        entries.insert(key, Arc::downgrade(&entry));
        entry
    }
}
