//! Small integers for rooms, events and snapshots, allocated from the database in blocks.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use parking_lot::Mutex;

use crate::{Database, Error};

const BLOCK_SIZE: i64 = 1024;
/// How many recent blocks are remembered; ids of older ones were written long ago.
const MAX_REMEMBERED_BLOCKS: usize = 64;

/// Allocates ids that are unique among all processes; one query for every 1,024.
///
/// Columns named `*_nid` (numeric id) hold them: small integers in place of the long Matrix identifiers.
#[derive(Clone, Debug)]
pub struct IdAllocator {
    database: Database,
    allocated: AllocatedIds,
}

/// The ids that this process allocated recently; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct AllocatedIds(Arc<Mutex<Blocks>>);

#[derive(Debug, Default)]
struct Blocks {
    /// The rest of the newest block.
    remaining: Range<i64>,
    /// The first ids of the last blocks, newest first.
    starts: VecDeque<i64>,
}

impl IdAllocator {
    /// An allocator with an empty block.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            allocated: AllocatedIds::default(),
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
            if let Some(nid) = self.allocated.0.lock().remaining.next() {
                return Ok(nid);
            }
            let mut db = self.database.acquire().await?;
            let start = sqlx::query_scalar!(r#"SELECT nextval('nids') AS "nid!""#)
                .fetch_one(&mut *db)
                .await?;
            // Two tasks may refill at once: the rest of one block is lost, which is harmless.
            self.allocated.0.lock().refill(start);
        }
    }

    /// A handle that tells whether an id was allocated by this process.
    pub fn allocated(&self) -> AllocatedIds {
        self.allocated.clone()
    }
}

impl AllocatedIds {
    /// Whether this process allocated the id recently.
    pub fn contains(&self, nid: i64) -> bool {
        let blocks = self.0.lock();
        let mut starts = blocks.starts.iter();
        starts.any(|start| (*start..*start + BLOCK_SIZE).contains(&nid))
    }
}

impl Blocks {
    fn refill(&mut self, start: i64) {
        self.remaining = start..start + BLOCK_SIZE;
        self.starts.push_front(start);
        self.starts.truncate(MAX_REMEMBERED_BLOCKS);
    }
}
