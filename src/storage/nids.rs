//! Small integers for rooms, events and snapshots, drawn from the database in blocks.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use parking_lot::Mutex;

use crate::{Database, Error};

const BLOCK: i64 = 1024;
/// Blocks that are remembered: what bears a number of an older one was written long ago.
const REMEMBERED: usize = 64;

/// Hands out numbers that no other process hands out; one query for every 1,024.
#[derive(Clone, Debug)]
pub struct Nids {
    database: Database,
    drawn: Drawn,
}

/// The numbers that this process has drawn of late; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Drawn(Arc<Mutex<Blocks>>);

#[derive(Debug, Default)]
struct Blocks {
    /// What is left of the newest block.
    left: Range<i64>,
    /// Where the last blocks began.
    starts: VecDeque<i64>,
}

impl Nids {
    /// An allocator with an empty block.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            drawn: Drawn::default(),
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
            if let Some(nid) = self.drawn.0.lock().left.next() {
                return Ok(nid);
            }
            let mut db = self.database.acquire().await?;
            let start = sqlx::query_scalar!(r#"SELECT nextval('nids') AS "nid!""#)
                .fetch_one(&mut *db)
                .await?;
            // Two tasks may refill at once: the rest of one block is lost, which harms nobody.
            self.drawn.0.lock().refill(start);
        }
    }

    /// Tells numbers of this process from those of others.
    pub fn drawn(&self) -> Drawn {
        self.drawn.clone()
    }
}

impl Drawn {
    /// Whether the number was drawn here. Of one that was drawn long ago it says no.
    pub fn contains(&self, nid: i64) -> bool {
        let blocks = self.0.lock();
        let mut starts = blocks.starts.iter();
        starts.any(|start| (*start..*start + BLOCK).contains(&nid))
    }
}

impl Blocks {
    fn refill(&mut self, start: i64) {
        self.left = start..start + BLOCK;
        self.starts.push_front(start);
        self.starts.truncate(REMEMBERED);
    }
}
