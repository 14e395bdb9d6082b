//! The numbers that stand for event types with state keys.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use moka::sync::Cache;
use types::StateKeyNid;

use crate::{
    Database, Error,
    escape::{escape, unescape},
};

/// Pairs whose numbers are kept in memory.
const CACHED: u64 = 100_000;

/// An event type and a state key.
pub type StateKeyText = (String, String);

/// Finds and allocates the numbers of state keys; cheap to clone.
#[derive(Clone, Debug)]
pub struct StateKeys {
    database: Database,
    cache: Cache<Arc<StateKeyText>, StateKeyNid>,
}

impl StateKeys {
    /// With an empty cache.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            cache: Cache::new(CACHED),
        }
    }

    /// The numbers of state keys, of those that have none yet new ones. No query when all are
    /// cached.
    ///
    /// They are allocated outside of the transaction that writes what they stand for, so that it
    /// holds no lock on them; what is never written leaves an unused number behind.
    #[tracing::instrument(name = "storage.state_keys.ids", level = "debug", skip_all)]
    pub async fn ids(
        &self,
        keys: impl IntoIterator<Item = StateKeyText>,
    ) -> Result<HashMap<StateKeyText, StateKeyNid>, Error> {
        let mut found = HashMap::new();
        let mut missing = BTreeSet::new();
        for key in keys {
            let key = Arc::new(key);
            match self.cache.get(&key) {
                Some(nid) => {
                    found.insert((*key).clone(), nid);
                }
                None => {
                    missing.insert(key);
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        // In the order of the keys: two processes that allocate the same must not deadlock.
        let (types, keys): (Vec<String>, Vec<String>) = missing
            .iter()
            .map(|key| (escape(&key.0).into_owned(), escape(&key.1).into_owned()))
            .unzip();
        let mut db = self.database.acquire().await?;
        sqlx::query!(
            "INSERT INTO state_keys (event_type, state_key)
             SELECT w.event_type, w.state_key FROM UNNEST($1::text[], $2::text[]) AS w (event_type, state_key)
             WHERE NOT EXISTS (
                SELECT FROM state_keys k WHERE k.event_type = w.event_type AND k.state_key = w.state_key)
             ON CONFLICT DO NOTHING",
            &types,
            &keys
        )
        .execute(&mut *db)
        .await?;
        let rows = sqlx::query!(
            "SELECT k.state_key_nid, k.event_type, k.state_key
             FROM UNNEST($1::text[], $2::text[]) AS w (event_type, state_key)
             JOIN state_keys k ON k.event_type = w.event_type AND k.state_key = w.state_key",
            &types,
            &keys
        )
        .fetch_all(&mut *db)
        .await?;
        for row in rows {
            let key = (unescape(row.event_type), unescape(row.state_key));
            let nid = StateKeyNid(row.state_key_nid);
            self.cache.insert(Arc::new(key.clone()), nid);
            found.insert(key, nid);
        }
        Ok(found)
    }
}
