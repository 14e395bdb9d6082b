//! The pool, migrations and transactions.

use std::{
    collections::BTreeSet,
    ops::{Deref, DerefMut, Range},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use ruma::ServerName;
use sqlx::{
    PgPool, Postgres, SqlStr,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::{mpsc, watch};
use types::StreamPosition;

use crate::{
    Changes, Error, UserChanges,
    cluster::Cluster,
    families,
    feed::{CommittedBatch, Committing, Feed},
    recent::RecentBatches,
    rooms::RoomWrite,
    stream,
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");

/// Distinct statements are few hundred; the default of 100 would make PostgreSQL plan them anew.
const STATEMENT_CACHE: usize = 512;

/// The few statements of a batch are planned once, since planning one takes as long as it does, and
/// with indexes, since the tables may have been small when they were.
pub(crate) const BEGIN_BATCH: &str = "BEGIN; SET LOCAL plan_cache_mode = force_generic_plan; \
                                      SET LOCAL enable_seqscan = off";

/// How long a turn of another process in a room is waited for; much longer than any takes.
const BEGIN_TURN: &str = "BEGIN; SET LOCAL lock_timeout = '2s'";

/// A connection idle for less than this is used without a ping.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// The database: cheap to clone, shared by all.
#[derive(Clone, Debug)]
pub struct Database {
    pool: PgPool,
    committed: Arc<watch::Sender<StreamPosition>>,
    committed_batches: mpsc::UnboundedSender<CommittedBatch>,
    /// Where transactions of this process begin whose changes have positions and that have not ended.
    committing: Arc<Mutex<BTreeSet<StreamPosition>>>,
    cluster: Cluster,
    recent: RecentBatches,
}

impl Database {
    /// Connects, applies the migrations under a lock, and checks that the data is this server's.
    ///
    /// The [`Feed`] yields what is committed; its owner must drain it.
    pub async fn open(
        options: PgConnectOptions,
        max_connections: u32,
        server_name: &ServerName,
    ) -> Result<(Self, Feed), Error> {
        let options = options
            .statement_cache_capacity(STATEMENT_CACHE)
            .application_name("chancery")
            // Compiling a batch's statement, of which PostgreSQL expects far too many rows while its
            // tables are not analysed, takes most of a second.
            .options([("jit", "off")])
            // Searches for nothing but stop words have notices, which nobody needs.
            .options([("client_min_messages", "warning")]);
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .test_before_acquire(false)
            .before_acquire(|db, meta| {
                Box::pin(async move {
                    if meta.idle_for < TRUSTED_FOR {
                        return Ok(true);
                    }
                    // After a restart of PostgreSQL: another connection is made in its place.
                    Ok(sqlx::Connection::ping(db).await.is_ok())
                })
            })
            .acquire_timeout(Duration::from_secs(10))
            .idle_timeout(Duration::from_mins(5))
            .connect_with(options)
            .await?;
        MIGRATIONS.run(&pool).await?;
        let found = sqlx::query_scalar!(
            "INSERT INTO server (server_name) VALUES ($1)
             ON CONFLICT (only_row) DO UPDATE SET server_name = server.server_name
             RETURNING server_name",
            server_name.as_str()
        )
        .fetch_one(&pool)
        .await?;
        if found != server_name.as_str() {
            return Err(Error::ForeignServer {
                found,
                expected: server_name.to_string(),
            });
        }
        let position = stream::position(&mut *pool.acquire().await?).await?;
        let cluster = Cluster::register(&mut *pool.acquire().await?).await?;
        let (committed_batches, received) = mpsc::unbounded_channel();
        let database = Self {
            pool,
            committed: Arc::new(watch::Sender::new(position)),
            committed_batches,
            committing: Arc::default(),
            cluster,
            recent: RecentBatches::new(position),
        };
        let feed = Feed::new(database.clone(), received, position);
        Ok((database, feed))
    }

    /// A connection for reads, each statement on its own.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, Error> {
        Ok(self.pool.acquire().await?)
    }

    /// Begins a transaction. Nothing that waits for the network may happen while it is open.
    pub async fn begin(&self) -> Result<Tx, Error> {
        self.begin_by("BEGIN").await
    }

    /// Begins a transaction for a turn in a room (`room_locks`).
    pub async fn begin_turn(&self) -> Result<Tx, Error> {
        self.begin_by(BEGIN_TURN).await
    }

    async fn begin_by(&self, statement: &'static str) -> Result<Tx, Error> {
        let db = self.pool.acquire().await?;
        let statement = Some(SqlStr::from_static(statement));
        #[expect(
            clippy::disallowed_methods,
            reason = "a `BEGIN` that nobody waits for any more must not leave its transaction open"
        )]
        let begun = tokio::spawn(sqlx::Transaction::begin(db, statement)).await;
        Ok(Tx {
            // It fails by a panic only, or at the end of the runtime.
            inner: begun.map_err(|_| sqlx::Error::WorkerCrashed)??,
            database: self.clone(),
        })
    }

    /// Begins a read-only transaction whose statements all see the same snapshot.
    pub async fn snapshot(&self) -> Result<Tx, Error> {
        self.begin_by("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
    }

    /// How far this process knows the stream to be committed, its own commits included.
    pub fn committed(&self) -> StreamPosition {
        *self.committed.borrow()
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query!("SELECT 1 AS one")
            .fetch_one(&mut *self.acquire().await?)
            .await?;
        Ok(())
    }

    /// Closes all connections, after those in use have been given back.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(crate) fn recent(&self) -> &RecentBatches {
        &self.recent
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The position up to which the stream must be read to show all commits of this process so far,
    /// and everything up to `seen`, which another process may have returned to a client.
    pub async fn target_position(&self, seen: StreamPosition) -> Result<StreamPosition, Error> {
        let known = self.committed();
        if seen <= known {
            return Ok(known);
        }
        let committed = self.latest_position().await?;
        Ok(known.max(seen.min(committed)))
    }

    /// The position up to which any process has committed; the feed reads on if it was behind.
    pub async fn latest_position(&self) -> Result<StreamPosition, Error> {
        let committed = stream::position(&mut *self.acquire().await?).await?;
        self.note_committed(committed);
        Ok(committed)
    }

    /// Has the feed read up to a position that another process has committed, so that it does not
    /// wait for the notification.
    pub fn note_committed(&self, position: StreamPosition) {
        if position > self.committed() {
            let batch = CommittedBatch::position(position);
            // The feed is gone only when the process ends.
            let _ended = self.committed_batches.send(batch);
        }
    }

    /// The most connections that this process has.
    pub fn max_connections(&self) -> u32 {
        self.pool.options().get_max_connections()
    }

    /// Waits until more than `position` is known to be committed; returns how far it is then.
    pub async fn committed_after(&self, position: StreamPosition) -> StreamPosition {
        let mut committed = self.committed.subscribe();
        match committed.wait_for(|committed| *committed > position).await {
            Ok(committed) => *committed,
            // The sender lives as long as this handle.
            Err(_) => self.committed(),
        }
    }

    pub(crate) fn send_committed(&self, batch: CommittedBatch) {
        self.advance(batch.last());
        // The feed is gone only when the process ends.
        let _ended = self.committed_batches.send(batch);
    }

    pub(crate) fn committing(&self) -> &Mutex<BTreeSet<StreamPosition>> {
        &self.committing
    }

    /// Whether a transaction of this process with positions after one of these has not ended.
    pub(crate) fn is_committing(&self, bases: Range<StreamPosition>) -> bool {
        self.committing.lock().range(bases).next().is_some()
    }

    pub(crate) fn advance(&self, position: StreamPosition) {
        self.committed.send_if_modified(|committed| {
            let is_advanced = position > *committed;
            *committed = position.max(*committed);
            is_advanced
        });
    }
}

/// A transaction; dropped without a commit, it is rolled back.
#[derive(Debug)]
pub struct Tx {
    inner: sqlx::Transaction<'static, Postgres>,
    database: Database,
}

impl Tx {
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Commits writes that put nothing into the stream.
    pub async fn commit(self) -> Result<(), Error> {
        Ok(self.inner.commit().await?)
    }

    /// Assigns positions to the changes as the last statement, commits, and notifies the followers.
    ///
    /// Events and the state of rooms cannot be among them: they are written by the
    /// [`Committer`](crate::Committer) alone, which compares and swaps the head of the room.
    pub async fn commit_with(self, changes: UserChanges) -> Result<StreamPosition, Error> {
        if changes.is_empty() {
            self.commit().await?;
            return Ok(StreamPosition::default());
        }
        self.commit_rows(changes.into(), &[]).await
    }

    /// Writes changes and what rooms keep of their state as the last statement, and commits.
    pub(crate) async fn commit_rows(
        mut self,
        changes: Changes,
        rooms: &[&RoomWrite],
    ) -> Result<StreamPosition, Error> {
        let base = families::append(&mut self.inner, &changes, rooms).await?;
        let committing = Committing::new(&self.database, base);
        self.inner.commit().await?;
        let heads = rooms.iter().map(|room| room.head_change()).collect();
        Ok(committing.committed(changes, heads))
    }
}

impl Deref for Tx {
    type Target = sqlx::PgConnection;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}
