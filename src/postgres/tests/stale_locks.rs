//! Lock files that a dead postmaster has left.

use std::os::unix::process::CommandExt;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use super::*;

/// A postmaster whose parent never reaps it.
struct Unreaped {
    pid: u32,
    _parent: Child,
}

impl Unreaped {
    async fn start(data_dir: &Path) -> Self {
        start(data_dir).await.stop().await.unwrap();
        let directory = Directory::open(data_dir, owner::resolve(None).unwrap()).unwrap();
        let binaries = Binaries::find(None, directory.cluster_version().unwrap()).unwrap();
        let run = directory.program_path("run");
        let mut command = directory.command(Path::new("/bin/sh"));
        command
            .args(["-c", r#""$@" & exec sleep 600"#, "sh"])
            .arg(binaries.program("postgres"))
            .arg("-D")
            .arg(directory.program_path("cluster"))
            .args(["-c", "listen_addresses="])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", run.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let parent = command.spawn().unwrap();
        let options = directory.connect_options();
        let ready = async {
            while !cluster::accepts_connections(&options).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(TIME_LIMIT, ready).await.unwrap();
        let pid = lock_files::find_postmaster(&directory).unwrap();
        Self {
            pid: pid.as_raw_nonzero().get().unsigned_abs(),
            _parent: parent,
        }
    }

    fn is_zombie(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        stat.contains("(postgres) Z ")
    }
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

/// Kills the postmaster and waits until it has exited.
async fn kill_postmaster(postgres: &ManagedPostgres) {
    let postmaster = Arc::clone(&postgres.postmaster.lock());
    kill(postmaster.pid());
    postmaster.exited().await;
}

/// The contents of both lock files.
fn lock_files_of(data_dir: &Path) -> [String; 2] {
    ["cluster/postmaster.pid", "run/.s.PGSQL.5432.lock"]
        .map(|file| fs::read_to_string(data_dir.join("postgres").join(file)).unwrap())
}

/// Leaves lock files as after a crash, with another process id in them.
async fn leave_locks_naming(data_dir: &Path, pid: u32) {
    let postgres = start(data_dir).await;
    let locks = lock_files_of(data_dir);
    postgres.stop().await.unwrap();
    for (file, text) in ["cluster/postmaster.pid", "run/.s.PGSQL.5432.lock"]
        .iter()
        .zip(locks)
    {
        let text = text.replacen(&postgres.pid().to_string(), &pid.to_string(), 1);
        fs::write(data_dir.join("postgres").join(file), text).unwrap();
    }
}

#[tokio::test]
async fn a_killed_postmaster_that_nobody_reaps_is_replaced_by_the_next_start() {
    let directory = open_directory();
    let unreaped = Unreaped::start(directory.path()).await;
    let adopter = start(directory.path()).await;
    assert_eq!(adopter.pid(), unreaped.pid);
    kill_postmaster(&adopter).await;
    drop(adopter);

    let postgres = start(directory.path()).await;
    assert!(unreaped.is_zombie());
    assert_ne!(postgres.pid(), unreaped.pid);
    connect(&postgres).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn an_adopted_postmaster_that_nobody_reaps_is_restarted() {
    let directory = open_directory();
    let unreaped = Unreaped::start(directory.path()).await;
    let postgres = start(directory.path()).await;
    kill(unreaped.pid);
    supervise_until_restarted(&postgres, unreaped.pid).await;
    assert!(unreaped.is_zombie());
    connect(&postgres).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_process_id_reused_by_another_program_does_not_prevent_the_start() {
    let directory = open_directory();
    let mut sleep = Command::new("sleep");
    // PostgreSQL takes a process of another user for no postmaster.
    if let Some((user, _)) = owner::resolve(None).unwrap() {
        sleep.uid(user);
    }
    let mut sleeper = sleep.arg("600").spawn().unwrap();
    leave_locks_naming(directory.path(), sleeper.id()).await;
    let started = ManagedPostgres::start(settings(directory.path())).await;
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    let postgres = started.unwrap();
    connect(&postgres).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_process_id_reused_by_a_postmaster_of_another_cluster_does_not_prevent_the_start() {
    let (directory, other) = (open_directory(), open_directory());
    let other = start(other.path()).await;
    leave_locks_naming(directory.path(), other.pid()).await;
    let postgres = start(directory.path()).await;
    assert_ne!(postgres.pid(), other.pid());
    connect(&postgres).await;
    connect(&other).await;
    postgres.stop().await.unwrap();
    other.stop().await.unwrap();
}

#[tokio::test]
async fn an_incomplete_lock_file_does_not_prevent_the_start() {
    let directory = open_directory();
    start(directory.path()).await.stop().await.unwrap();
    fs::write(directory.path().join("postgres/cluster/postmaster.pid"), "").unwrap();
    let postgres = start(directory.path()).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn the_lock_files_of_a_live_postmaster_stay() {
    let directory = open_directory();
    let postgres = start(directory.path()).await;
    let before = lock_files_of(directory.path());
    lock_files::clear_stale(&postgres.directory).await.unwrap();
    assert_eq!(lock_files_of(directory.path()), before);
    connect(&postgres).await;
    // One of the two is enough to find it.
    fs::remove_file(directory.path().join("postgres/cluster/postmaster.pid")).unwrap();
    lock_files::clear_stale(&postgres.directory).await.unwrap();
    assert!(
        directory
            .path()
            .join("postgres/run/.s.PGSQL.5432.lock")
            .exists()
    );
    connect(&postgres).await;
    postgres.stop().await.unwrap();
}

/// A session that does not notice the death of its postmaster, and its process id.
#[expect(
    clippy::disallowed_methods,
    reason = "asks PostgreSQL itself; tests have no supervisor"
)]
async fn busy_session(postgres: &ManagedPostgres) -> u32 {
    let mut busy = connect(postgres).await;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut busy)
        .await
        .unwrap();
    tokio::spawn(async move {
        let endless = "DO $$ BEGIN LOOP NULL; END LOOP; END $$";
        sqlx::raw_sql(endless).execute(&mut busy).await
    });
    let mut db = connect(postgres).await;
    let busy = async {
        let is_busy =
            "SELECT state = 'active' AND query LIKE 'DO%' FROM pg_stat_activity WHERE pid = $1";
        while !sqlx::query_scalar::<_, bool>(is_busy)
            .bind(pid)
            .fetch_one(&mut db)
            .await
            .unwrap()
        {}
    };
    tokio::time::timeout(TIME_LIMIT, busy).await.unwrap();
    pid.unsigned_abs()
}

#[tokio::test]
async fn sessions_that_outlive_their_postmaster_are_ended_before_the_next_start() {
    let directory = open_directory();
    let postgres = start(directory.path()).await;
    let session = busy_session(&postgres).await;
    kill_postmaster(&postgres).await;
    drop(postgres);
    assert!(Path::new(&format!("/proc/{session}")).exists());

    let postgres = start(directory.path()).await;
    let stat = fs::read_to_string(format!("/proc/{session}/stat"));
    assert!(stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z ")));
    connect(&postgres).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn postgresql_refuses_to_start_beside_sessions_of_a_dead_postmaster() {
    let directory = open_directory();
    let postgres = start(directory.path()).await;
    let session = busy_session(&postgres).await;
    kill_postmaster(&postgres).await;

    // As if the session could not be found.
    lock_files::remove_stale(&postgres.directory).unwrap();
    let started = Postmaster::spawn(&postgres.directory, &postgres.binaries, false).unwrap();
    let refused = started.wait_until_ready(&postgres.directory).await;
    kill(session);
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("shared memory"), "{error}");
}
