//! A database for each test, cloned from a migrated template.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use live::Live;
use postgres::ManagedPostgres;
use room::Rooms;
use ruma::{DeviceId, EventId, OwnedUserId, ServerName, UserId, owned_server_name};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use storage::{
    Committer, Database, Feed, IdAllocator,
    users::{self, NewUser},
};
use tokio::sync::OnceCell;

use crate::time_limit::{self, time_limit};

/// The memory for users and rooms.
const BUDGET: usize = 64 << 20;
/// How many users of a room are shown as typing.
const MAX_TYPING_USERS: usize = 100;

/// A migrated, empty database of one test.
#[derive(Debug)]
pub struct TestDatabase {
    /// The handle.
    pub database: Database,
    /// The feed, for tests that follow the stream.
    pub feed: Feed,
    /// A running committer.
    pub committer: Committer,
    /// Allocates ids for rooms and events.
    pub nids: IdAllocator,
    /// Options for a second connection, as another process would open.
    pub options: PgConnectOptions,
}

/// The server name of test databases.
pub fn server_name() -> ruma::OwnedServerName {
    owned_server_name!("test.localhost")
}

/// Creates a database.
pub async fn database() -> TestDatabase {
    let options = template(&server_name()).await;
    TestDatabase::open(options).await
}

/// The handles needed to write, as a server process has them.
#[derive(Clone, Debug)]
pub struct Writer {
    /// The handle.
    pub database: Database,
    /// A running committer.
    pub committer: Committer,
    /// The cache; it follows the stream once it is given the feed.
    pub live: Live,
    /// The rooms.
    pub rooms: Rooms,
    /// Options for a second connection, as another process would open.
    pub options: PgConnectOptions,
}

impl Writer {
    /// The writer of the process that opened the database.
    pub fn new(test: &TestDatabase) -> Self {
        let settings = live::Settings {
            budget: BUDGET,
            max_typing_users: MAX_TYPING_USERS,
            presence: true,
        };
        Self::within(test, settings)
    }

    fn within(test: &TestDatabase, settings: live::Settings) -> Self {
        let (database, committer) = (test.database.clone(), test.committer.clone());
        let live = Live::new(database.clone(), &test.feed, settings);
        Self {
            rooms: crate::room::rooms(database.clone(), live.clone(), committer.clone()),
            database,
            committer,
            live,
            options: test.options.clone(),
        }
    }
}

impl TestDatabase {
    /// Splits into the writer and the feed.
    pub fn split(self) -> (Writer, Feed) {
        (Writer::new(&self), self.feed)
    }

    /// The same with a cache of other limits.
    pub fn split_within(self, settings: live::Settings) -> (Writer, Feed) {
        (Writer::within(&self, settings), self.feed)
    }

    /// Opens a database by its options, as another process on the same database would.
    pub async fn open(options: PgConnectOptions) -> Self {
        let (database, feed) = Database::open(options.clone(), 8, &server_name())
            .await
            .expect("the database opens");
        let (committer, run) = Committer::new(database.clone());
        #[expect(clippy::disallowed_methods, reason = "tests have no supervisor")]
        tokio::spawn(run);
        Self {
            nids: IdAllocator::new(database.clone()),
            database,
            feed,
            committer,
            options,
        }
    }
}

impl TestDatabase {
    /// Runs a statement on a connection of its own, as an administrator would.
    pub async fn execute(&self, statement: &str) {
        execute_on(&self.options, statement).await;
    }

    /// Ends all connections but its own, as a restart of PostgreSQL would.
    pub async fn disconnect(&self) {
        execute_on(&self.options, DISCONNECT).await;
    }
}

impl Writer {
    /// Runs a statement on a connection of its own, as an administrator would.
    pub async fn execute(&self, statement: &str) {
        execute_on(&self.options, statement).await;
    }

    /// Ends all connections but its own, as a restart of PostgreSQL would.
    pub async fn disconnect(&self) {
        execute_on(&self.options, DISCONNECT).await;
    }
}

const DISCONNECT: &str = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

async fn execute_on(options: &PgConnectOptions, statement: &str) {
    let mut db = PgConnection::connect_with(options)
        .await
        .expect("the database answers");
    execute(&mut db, statement.to_owned()).await;
}

/// Creates an empty database for a server of that name; returns how to connect to it.
pub async fn template(server_name: &ServerName) -> PgConnectOptions {
    static TEMPLATE: OnceCell<PgConnectOptions> = OnceCell::const_new();
    time_limit(time_limit::DEFAULT);
    let server = TEMPLATE.get_or_init(make_template).await;
    let name = format!("test_{}", unique());
    let mut db = PgConnection::connect_with(&server.clone().database("postgres"))
        .await
        .expect("the test cluster answers");
    // Names are ours and need no quoting.
    let template = server.get_database().expect("the template has a name");
    execute(
        &mut db,
        format!("CREATE DATABASE {name} TEMPLATE {template}"),
    )
    .await;
    let options = server.clone().database(&name);
    let mut db = PgConnection::connect_with(&options)
        .await
        .expect("the new database answers");
    execute(
        &mut db,
        format!("UPDATE server SET server_name = '{server_name}'"),
    )
    .await;
    options
}

/// Migrates the template database, which is cloned for each test of this process.
async fn make_template() -> PgConnectOptions {
    let cluster = cluster().await;
    let name = format!("template_{}", unique());
    let mut db = PgConnection::connect_with(&cluster.clone().database("postgres"))
        .await
        .expect("the test cluster answers");
    execute(
        &mut db,
        format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"),
    )
    .await;
    let options = cluster.database(&name);
    let (database, _feed) = Database::open(options.clone(), 1, &server_name())
        .await
        .expect("the migrations apply");
    database.close().await;
    options
}

/// The cluster of `CHANCERY_TEST_DATABASE_URL`, or one that this process starts and that ends with it.
async fn cluster() -> PgConnectOptions {
    #[expect(
        clippy::disallowed_methods,
        reason = "names the cluster of the test run"
    )]
    let url = std::env::var("CHANCERY_TEST_DATABASE_URL");
    if let Ok(url) = url {
        return url.parse().expect("CHANCERY_TEST_DATABASE_URL is a URL");
    }
    let directory = tempfile::tempdir().expect("a temporary directory").keep();
    // The cluster runs as another user when the tests run as root.
    fs::set_permissions(&directory, Permissions::from_mode(0o755)).expect("it is ours");
    let postgres = ManagedPostgres::start(postgres::Settings {
        data_dir: directory.clone(),
        bin_dir: None,
        run_as: None,
        server_name: server_name(),
        fsync: false,
    })
    .await
    .expect("PostgreSQL starts");
    end_with_this_process(postgres.pid(), &directory);
    postgres.connect_options()
}

/// Starts a shell that waits for this process to exit, in any way, and cleans up.
fn end_with_this_process(pid: u32, directory: &Path) {
    static WATCHDOG: OnceLock<Child> = OnceLock::new();
    let script =
        r#"cat; kill -INT "$1"; while kill -0 "$1" 2>/dev/null; do sleep 0.1; done; rm -rf "$2""#;
    let watchdog = Command::new("sh")
        .args(["-c", script, "sh", &pid.to_string()])
        .arg(directory)
        // Its end of the pipe closes with this process; Ctrl-C does not reach it.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("a shell");
    WATCHDOG.set(watchdog).expect("there is one cluster");
}

#[expect(clippy::disallowed_methods, reason = "runs what a test gives")]
async fn execute(db: &mut PgConnection, statement: String) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(db)
        .await
        .expect("the statement succeeds");
}

fn unique() -> String {
    types::random::letters(16)
        .expect("randomness")
        .to_lowercase()
}

/// Creates a user without a password.
pub async fn register_user(database: &Database, name: &str) -> OwnedUserId {
    let user_id: OwnedUserId = format!("@{name}:{}", server_name())
        .try_into()
        .expect("a user id");
    let user = NewUser {
        user_id: &user_id,
        password_hash: None,
        is_admin: false,
        created_ts: 0,
    };
    let mut db = database.acquire().await.expect("a connection");
    users::insert(&mut db, user).await.expect("a user");
    user_id
}

/// Makes a user and a device known, as far as they are not.
#[expect(
    clippy::disallowed_methods,
    reason = "only storage has checked queries"
)]
pub async fn register_device(database: &Database, user_id: &UserId, device_id: &DeviceId) {
    let mut connection = database.acquire().await.expect("the database answers");
    for statement in [
        "INSERT INTO users (user_id, created_ts) VALUES ($1, 0) ON CONFLICT DO NOTHING",
        "INSERT INTO devices (user_id, device_id, created_ts) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING",
    ] {
        let query = sqlx::query(statement).bind(user_id.as_str());
        let query = if statement.contains("$2") {
            query.bind(device_id.as_str())
        } else {
            query
        };
        query.execute(&mut *connection).await.expect("a device");
    }
}

/// Lets all snapshots look as if they had been stored long ago.
#[expect(
    clippy::disallowed_methods,
    reason = "only storage has checked queries"
)]
pub async fn age_snapshots(database: &Database) {
    let mut connection = database.acquire().await.expect("the database answers");
    sqlx::query("UPDATE snapshots SET stored_at = now() - interval '2 days'")
        .execute(&mut *connection)
        .await
        .expect("snapshots");
}

/// Has an event count as one that came before those that it follows.
#[expect(
    clippy::disallowed_methods,
    reason = "only storage has checked queries"
)]
pub async fn mark_gap(database: &Database, event_id: &EventId) {
    let mut connection = database.acquire().await.expect("the database answers");
    sqlx::query("UPDATE events SET after_gap = true WHERE event_id = $1")
        .bind(event_id.as_str())
        .execute(&mut *connection)
        .await
        .expect("the event");
}
