//! Makes the cluster and its database.

use std::{fs, path::Path, time::Duration};

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

use crate::{
    Error,
    binaries::Binaries,
    directory::{Directory, NAME},
};

/// Whoever can open the socket is let in; its directory is closed to all but the owner.
const ACCESS: &str = "local all all trust\n";

/// Runs `initdb` unless there is a cluster.
///
/// It is made under another name and renamed when it is complete, so that a crash leaves no half of one.
pub(crate) async fn make(directory: &Directory, binaries: &Binaries) -> Result<(), Error> {
    let cluster = directory.cluster();
    if cluster.join("PG_VERSION").exists() {
        return Ok(());
    }
    let unfinished = directory.beside("cluster.new");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(Error::file(&unfinished))?;
    }
    let made = initdb(directory, binaries, &unfinished).await;
    if made.is_err() && unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(Error::file(&unfinished))?;
    }
    made?;
    let access = unfinished.join("pg_hba.conf");
    fs::write(&access, ACCESS).map_err(Error::file(&access))?;
    fs::rename(&unfinished, &cluster).map_err(Error::file(&cluster))?;
    tracing::info!(path = %cluster.display(), "Made a database cluster");
    Ok(())
}

async fn initdb(
    directory: &Directory,
    binaries: &Binaries,
    unfinished: &Path,
) -> Result<(), Error> {
    let program = binaries.program("initdb");
    let mut command = directory.command(&program);
    command
        .arg("-D")
        .arg(directory.reached("cluster.new"))
        // The C locale sorts by bytes: no index depends on the version of a system library.
        .args([
            "-U",
            NAME,
            "--encoding=UTF8",
            "--locale=C",
            "--data-checksums",
        ])
        .args(["--auth-local=trust", "--auth-host=reject"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped());
    let child = directory
        .inherited(|| command.spawn())
        .map_err(Error::file(&program))?;
    let output = child
        .wait_with_output()
        .await
        .map_err(Error::file(&program))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::program(
        "initdb",
        unfinished,
        &String::from_utf8_lossy(&output.stderr),
    ))
}

/// Whether the cluster accepts connections.
pub(crate) async fn answers(connection: &PgConnectOptions) -> bool {
    let connection = connection.clone().database("postgres");
    let attempt = PgConnection::connect_with(&connection);
    let Ok(Ok(connection)) = tokio::time::timeout(Duration::from_secs(5), attempt).await else {
        return false;
    };
    // That it answered is all that was asked; how the farewell goes does not matter.
    connection.close().await.is_ok()
}

/// Makes the database unless it is there.
pub(crate) async fn prepare(connection: &PgConnectOptions) -> Result<(), Error> {
    let mut db = PgConnection::connect_with(&connection.clone().database("postgres")).await?;
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'chancery')")
            .fetch_one(&mut db)
            .await?;
    if !exists {
        sqlx::raw_sql("CREATE DATABASE chancery TEMPLATE template0")
            .execute(&mut db)
            .await?;
    }
    // Event JSON compresses better and faster with lz4, where this PostgreSQL was built with it.
    let lz4: Option<bool> = sqlx::query_scalar(
        "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'",
    )
    .fetch_optional(&mut db)
    .await?;
    if lz4 == Some(true) {
        sqlx::raw_sql("ALTER DATABASE chancery SET default_toast_compression = 'lz4'")
            .execute(&mut db)
            .await?;
    }
    db.close().await?;
    Ok(())
}
