//! Identical first requests that are under way at the same time share one computation.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::{Error, Request};

type Shared = OnceCell<Arc<str>>;

/// The computations under way.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<HashMap<String, Weak<Shared>>>);

impl InFlight {
    /// Computes an answer, or waits for whoever is computing the same one. When that one goes
    /// away, the next takes over.
    pub(crate) async fn share<F>(
        &self,
        request: &Request,
        compute: impl FnOnce() -> F,
    ) -> Result<String, Error>
    where
        F: Future<Output = Result<String, Error>>,
    {
        let shared = self.place(request);
        let answer = shared
            .get_or_try_init(|| async { compute().await.map(Arc::from) })
            .await?;
        Ok(String::from(&**answer))
    }

    fn place(&self, request: &Request) -> Arc<Shared> {
        let filter = serde_json::to_string(&*request.filter).unwrap_or_default();
        let key = format!(
            "{} {} {} {} {filter}",
            request.user_id, request.device_id, request.full_state, request.use_state_after
        );
        let mut places = self.0.lock();
        places.retain(|_, place| place.strong_count() > 0);
        // A finished answer is old: only what is still being computed is shared.
        if let Some(place) = places.get(&key).and_then(Weak::upgrade)
            && !place.initialized()
        {
            return place;
        }
        let place = Arc::new(Shared::new());
        places.insert(key, Arc::downgrade(&place));
        place
    }
}
