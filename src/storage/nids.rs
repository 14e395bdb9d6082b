//! Small integers for rooms, events and snapshots, drawn from the database in blocks.

use std::{ops::Range, sync::Arc};

use parking_lot::Mutex;

use crate::{Database, Error};

const BLOCK: i64 = 1024;

/// Hands out numbers that no other process hands out; one query for every 1,024.
#[derive(Clone, Debug)]
pub struct Nids {
    database: Database,
    block: Arc<Mutex<Range<i64>>>,
}

impl Nids {
    /// An allocator with an empty block.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            block: Arc::new(Mutex::new(0..0)),
        }
    }

    /// The next `count` numbers, in no particular order.
    pub async fn take(&self, count: usize) -> Result<Vec<i64>, Error> {
        let mut nids = Vec::with_capacity(count);
        while nids.len() < count {
            nids.push(self.next().await?);
        }
        Ok(nids)
    }

    /// The next number.
    pub async fn next(&self) -> Result<i64, Error> {
        loop {
            if let Some(nid) = self.block.lock().next() {
                return Ok(nid);
            }
            let mut db = self.database.acquire().await?;
            let start = sqlx::query_scalar!(r#"SELECT nextval('nids') AS "nid!""#)
                .fetch_one(&mut *db)
                .await?;
            // Two tasks may refill at once: the rest of one block is lost, which harms nobody.
            *self.block.lock() = start..start + BLOCK;
        }
    }
}
