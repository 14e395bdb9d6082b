//! Filters that clients store for `/sync` and `/messages`.

use ruma::UserId;

use crate::{Error, Identity, Result, tokens};

/// The largest filter, in bytes of JSON.
const MAX_BYTES: usize = 64 * 1024;
/// The most filters that one user may store.
const MAX_FILTERS: i64 = 1000;

impl Identity {
    /// Stores a filter, JSON text, and returns its id; the same filter keeps its id.
    pub async fn store_filter(&self, user_id: &UserId, content: &str) -> Result<String> {
        if content.len() > MAX_BYTES {
            return Err(Error::TooLarge("The filter is too large"));
        }
        let digest = tokens::hash(content);
        let mut db = self.0.database.acquire().await?;
        if storage::filters::count(&mut db, user_id).await? >= MAX_FILTERS {
            return Err(Error::TooLarge("The user has stored too many filters"));
        }
        let filter_id = storage::filters::insert(&mut db, user_id, &digest, content).await?;
        Ok(filter_id.to_string())
    }

    /// The filter of that id, JSON text.
    pub async fn filter(&self, user_id: &UserId, filter_id: &str) -> Result<String> {
        let unknown = Error::NotFound("There is no such filter");
        let Ok(filter_id) = filter_id.parse() else {
            return Err(unknown);
        };
        let mut db = self.0.database.acquire().await?;
        storage::filters::find(&mut db, user_id, filter_id)
            .await?
            .ok_or(unknown)
    }
}
