//! A cache of stored filters; a filter never changes after it is stored.

use std::sync::Arc;

use moka::sync::Cache;
use ruma::{OwnedUserId, UserId, api::client::filter::FilterDefinition};
use storage::{Database, filters};

use crate::Error;

/// The most filters cached.
const CACHE_CAPACITY: u64 = 4096;

/// The cache of stored filters.
#[derive(Debug)]
pub(crate) struct StoredFilters(Cache<(OwnedUserId, i64), Arc<FilterDefinition>>);

impl StoredFilters {
    pub(crate) fn new() -> Self {
        Self(Cache::new(CACHE_CAPACITY))
    }

    /// A user's filter by its id.
    pub(crate) async fn find(
        &self,
        database: &Database,
        user_id: &UserId,
        filter_id: &str,
    ) -> Result<Arc<FilterDefinition>, Error> {
        let filter_id: i64 = filter_id.parse().map_err(|_| Error::UnknownFilter)?;
        let key = (user_id.to_owned(), filter_id);
        if let Some(filter) = self.0.get(&key) {
            return Ok(filter);
        }
        let mut db = database.acquire().await?;
        let text = filters::find(&mut db, user_id, filter_id)
            .await?
            .ok_or(Error::UnknownFilter)?;
        let filter: Arc<FilterDefinition> =
            Arc::new(serde_json::from_str(&text).map_err(|_| Error::UnknownFilter)?);
        self.0.insert(key, filter.clone());
        Ok(filter)
    }
}
