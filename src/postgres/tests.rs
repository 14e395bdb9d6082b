use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Stdio},
};

use ruma::owned_server_name;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use super::*;

mod stale_locks;

/// Ends a wait that has failed.
const TIME_LIMIT: Duration = Duration::from_mins(1);

fn settings(data_dir: &Path) -> Settings {
    Settings {
        data_dir: data_dir.to_owned(),
        bin_dir: None,
        run_as: None,
        server_name: owned_server_name!("test.localhost"),
        fsync: false,
    }
}

/// A directory that every user may pass.
fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

async fn start(data_dir: &Path) -> ManagedPostgres {
    ManagedPostgres::start(settings(data_dir)).await.unwrap()
}

/// Why it does not start with these programs.
async fn refused_with(data_dir: &Path, programs: &Path) -> Error {
    let settings = Settings {
        bin_dir: Some(programs.to_owned()),
        ..settings(data_dir)
    };
    ManagedPostgres::start(settings).await.unwrap_err()
}

async fn connect(postgres: &ManagedPostgres) -> PgConnection {
    PgConnection::connect_with(&postgres.connect_options())
        .await
        .unwrap()
}

#[expect(clippy::disallowed_methods, reason = "asks PostgreSQL itself")]
async fn setting(db: &mut PgConnection, name: &str) -> String {
    sqlx::query_scalar("SELECT current_setting($1)")
        .bind(name)
        .fetch_one(db)
        .await
        .unwrap()
}

/// Programs that do what the test says, with a version of their own.
fn fake_programs(directory: &Path, version: &str, initdb: &str) {
    let write = |name: &str, script: &str| {
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    };
    write(
        "postgres",
        &format!("echo 'postgres (PostgreSQL) {version}'"),
    );
    write("initdb", initdb);
}

/// Supervises the postmaster until it has been replaced.
async fn supervise_until_restarted(postgres: &ManagedPostgres, pid: u32) {
    let restarted = async {
        while postgres.pid() == pid {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = postgres.supervise() => unreachable!("it never returns"),
        () = restarted => {}
        () = tokio::time::sleep(TIME_LIMIT) => panic!("not restarted"),
    }
}

#[tokio::test]
async fn a_fresh_cluster_has_checksums_and_no_tcp_and_is_not_run_by_root() {
    let directory = open_directory();
    let postgres = start(directory.path()).await;
    let mut db = connect(&postgres).await;
    assert_eq!(setting(&mut db, "data_checksums").await, "on");
    assert_eq!(setting(&mut db, "listen_addresses").await, "");
    assert_eq!(setting(&mut db, "server_encoding").await, "UTF8");
    assert_eq!(setting(&mut db, "fsync").await, "off");
    assert_ne!(
        fs::metadata(format!("/proc/{}", postgres.pid()))
            .unwrap()
            .uid(),
        0
    );
    let run = fs::metadata(directory.path().join("postgres/run")).unwrap();
    assert_eq!(run.permissions().mode() & 0o777, 0o700);
    postgres.stop().await.unwrap();
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the database is empty")]
async fn data_survives_a_restart() {
    let directory = open_directory();
    let postgres = start(directory.path()).await;
    let first = postgres.pid();
    sqlx::raw_sql("CREATE TABLE kept AS SELECT 7 AS number")
        .execute(&mut connect(&postgres).await)
        .await
        .unwrap();
    postgres.stop().await.unwrap();
    assert!(
        ManagedPostgres::find_running(&settings(directory.path()))
            .await
            .is_none()
    );
    drop(postgres);

    let postgres = start(directory.path()).await;
    assert_ne!(postgres.pid(), first);
    let number: i32 = sqlx::query_scalar("SELECT number FROM kept")
        .fetch_one(&mut connect(&postgres).await)
        .await
        .unwrap();
    assert_eq!(number, 7);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_postmaster_left_by_a_crash_is_adopted() {
    let directory = open_directory();
    let postgres = start(directory.path()).await;
    let pid = postgres.pid();
    // What a crash leaves: the postmaster runs, nobody holds the lock.
    drop(postgres);
    let postgres = start(directory.path()).await;
    assert_eq!(postgres.pid(), pid);
    connect(&postgres).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_postmaster_that_dies_is_started_again() {
    let directory = open_directory();
    let postgres = start(directory.path()).await;
    let first = postgres.pid();
    let died = rustix::process::Pid::from_raw(first.cast_signed()).unwrap();
    rustix::process::kill_process(died, rustix::process::Signal::QUIT).unwrap();
    supervise_until_restarted(&postgres, first).await;
    connect(&postgres).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn an_inaccessible_parent_directory_is_bypassed_by_an_inherited_handle() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).unwrap();
    let data_dir = directory.path().join("below");
    let postgres = start(&data_dir).await;
    connect(&postgres).await;
    let pid = postgres.pid();
    drop(postgres);
    let postgres = start(&data_dir).await;
    assert_eq!(postgres.pid(), pid);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_path_longer_than_a_socket_may_have_works() {
    let directory = open_directory();
    let data_dir = directory.path().join("a-long-name".repeat(12));
    let postgres = start(&data_dir).await;
    connect(&postgres).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused() {
    let directory = open_directory();
    let postgres = start(directory.path()).await;
    let second = ManagedPostgres::start(settings(directory.path())).await;
    assert!(matches!(second, Err(Error::InUse(_))), "{second:?}");
    assert!(
        ManagedPostgres::find_running(&settings(directory.path()))
            .await
            .is_some()
    );
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn the_data_of_another_server_name_is_refused() {
    let directory = open_directory();
    let opened = Directory::open(directory.path(), None).unwrap();
    opened
        .check_server_name(&owned_server_name!("other.localhost"))
        .unwrap();
    drop(opened);
    let error = ManagedPostgres::start(settings(directory.path()))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::ForeignServer { found, .. } if found == "other.localhost"),
        "{error}"
    );
}

#[tokio::test]
async fn missing_programs_are_explained() {
    let (directory, programs) = (open_directory(), open_directory());
    let error = refused_with(directory.path(), programs.path()).await;
    assert!(matches!(error, Error::MissingBinaries { .. }), "{error}");
    assert!(error.to_string().contains("apt-get install"), "{error}");

    fake_programs(programs.path(), "13.4", "exit 1");
    let error = refused_with(directory.path(), programs.path()).await;
    assert!(
        matches!(error, Error::MissingBinaries { .. }),
        "too old: {error}"
    );
}

#[tokio::test]
async fn a_cluster_of_another_version_is_refused() {
    let (directory, programs) = (open_directory(), open_directory());
    let cluster = directory.path().join("postgres/cluster");
    fs::create_dir_all(&cluster).unwrap();
    fs::write(cluster.join("PG_VERSION"), "14\n").unwrap();
    fake_programs(programs.path(), "17.2 (Debian 17.2-1)", "exit 1");
    let error = refused_with(directory.path(), programs.path()).await;
    let text = error.to_string();
    assert!(matches!(error, Error::VersionMismatch { .. }), "{text}");
    assert!(
        text.contains("created by PostgreSQL 14, but only 17 is installed"),
        "{text}"
    );
}

#[tokio::test]
async fn a_failed_initdb_leaves_nothing_and_says_why() {
    let (directory, programs) = (open_directory(), open_directory());
    let script =
        "echo 'initdb: error: could not write to file \"x\": No space left on device' >&2; exit 1";
    fake_programs(programs.path(), "15.1", script);
    let error = refused_with(directory.path(), programs.path()).await;
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    assert!(!directory.path().join("postgres/cluster").exists());
    assert!(!directory.path().join("postgres/cluster.new").exists());
}

/// Needs the right to mount; without it the test above stands for it.
#[tokio::test]
async fn a_disk_that_is_really_full_is_explained() {
    let directory = open_directory();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"])
        .arg(directory.path())
        .status();
    if !mount.is_ok_and(|status| status.success()) {
        eprintln!("NOT TESTED: mounting a small file system is not allowed here");
        return;
    }
    let started = ManagedPostgres::start(settings(directory.path())).await;
    assert!(
        Command::new("umount")
            .arg(directory.path())
            .status()
            .unwrap()
            .success()
    );
    let error = started.unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
}
