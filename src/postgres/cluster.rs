//! Creates the cluster and its database.

use std::{fs, path::Path, time::Duration};

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

use crate::{
    Error,
    binaries::Binaries,
    directory::{Directory, NAME},
};

/// `pg_hba.conf`: access is controlled by the socket's directory, which only its owner may enter.
const PG_HBA: &str = "local all all trust\n";

/// Runs `initdb` unless there is a cluster.
///
/// The cluster is created under a temporary name and renamed when it is complete, so that a crash leaves no
/// incomplete one.
pub(crate) async fn create(directory: &Directory, binaries: &Binaries) -> Result<(), Error> {
    let cluster = directory.cluster();
    if cluster.join("PG_VERSION").exists() {
        return Ok(());
    }
    let temporary = directory.path("cluster.new");
    if temporary.exists() {
        fs::remove_dir_all(&temporary).map_err(Error::file(&temporary))?;
    }
    let created = initdb(directory, binaries, &temporary).await;
    if created.is_err() && temporary.exists() {
        fs::remove_dir_all(&temporary).map_err(Error::file(&temporary))?;
    }
    created?;
    let pg_hba = temporary.join("pg_hba.conf");
    fs::write(&pg_hba, PG_HBA).map_err(Error::file(&pg_hba))?;
    fs::rename(&temporary, &cluster).map_err(Error::file(&cluster))?;
    tracing::info!(path = %cluster.display(), "Created a database cluster");
    Ok(())
}

async fn initdb(directory: &Directory, binaries: &Binaries, temporary: &Path) -> Result<(), Error> {
    let program = binaries.program("initdb");
    let mut command = directory.command(&program);
    command
        .arg("-D")
        .arg(directory.program_path("cluster.new"))
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
        .with_inherited_handle(|| command.spawn())
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
        temporary,
        &String::from_utf8_lossy(&output.stderr),
    ))
}

/// Whether the cluster accepts connections.
pub(crate) async fn accepts_connections(options: &PgConnectOptions) -> bool {
    let options = options.clone().database("postgres");
    let attempt = PgConnection::connect_with(&options);
    let Ok(Ok(connection)) = tokio::time::timeout(Duration::from_secs(5), attempt).await else {
        return false;
    };
    connection.close().await.is_ok()
}

/// Creates the database unless it exists.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no schema to check these statements against"
)]
pub(crate) async fn create_database(options: &PgConnectOptions) -> Result<(), Error> {
    let mut db = PgConnection::connect_with(&options.clone().database("postgres")).await?;
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
