//! Small integers for rooms, events and snapshots, allocated from the database in blocks.

use std::{ops::Range, sync::Arc};

use parking_lot::Mutex;

use crate::{Database, Error};

const BLOCK_SIZE: i64 = 1024;

/// Allocates ids that are unique among all processes; one query for every 1,024.
///
/// Columns named `*_nid` (numeric id) hold them: small integers in place of the long Matrix identifiers.
#[derive(Clone, Debug)]
pub struct IdAllocator {
    database: Database,
    /// The rest of the newest block.
    remaining: Arc<Mutex<Range<i64>>>,
}

impl IdAllocator {
    /// An allocator with an empty block.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            remaining: Arc::default(),
        }
    }

    /// Allocates `count` ids, in no particular order.
    pub async fn allocate(&self, count: usize) -> Result<Vec<i64>, Error> {
        let mut nids = Vec::with_capacity(count);
        while nids.len() < count {
            nids.push(self.allocate_one().await?);
        }
        Ok(nids)
    }

    /// Allocates one id.
    pub async fn allocate_one(&self) -> Result<i64, Error> {
        loop {
            if let Some(nid) = self.remaining.lock().next() {
                return Ok(nid);
            }
            let mut db = self.database.acquire().await?;
            let start = sqlx::query_scalar!(r#"SELECT nextval('nids') AS "nid!""#)
                .fetch_one(&mut *db)
                .await?;
            // Two tasks may refill at once: the rest of one block is lost, which is harmless.
            *self.remaining.lock() = start..start + BLOCK_SIZE;
        }
    }
}
