//! Start-up and shutdown order.

mod signals;

use std::{path::PathBuf, time::Duration};

use config::Config;
use tokio::task::JoinSet;
use types::Clock;

use crate::{
    app,
    database::{self, Opened, PostgresOwnership},
    ready,
    reload::Reload,
    sockets::{Routers, Sockets},
    stack, telemetry,
    workers::Workers,
};
use signals::Signals;

/// How long requests in flight may take to finish at shutdown.
const SHUTDOWN_GRACE_PERIOD: Duration = Duration::from_secs(30);
/// How long closing the connection pool may take.
const POOL_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the server until a signal or the failure of an essential task.
///
/// `file` is the configuration file, for reading it again.
pub(crate) async fn serve(mut config: Config, file: Option<PathBuf>) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let recorder = config
        .metrics
        .listen
        .as_ref()
        .map(|_| telemetry::metrics())
        .transpose()?;
    let sockets = Sockets::bind(&config, recorder).await?;
    config.client.public_base_url = Some(sockets.base_url(&config)?);
    let opened = database::open(&config, PostgresOwnership::Managed).await?;
    let (database, managed) = (opened.database.clone(), opened.managed.clone());
    let workers = Workers::default();

    let result = run((&config, file), sockets, opened, &workers, &mut signals).await;

    if let Err(unfinished) = workers.stop(Duration::ZERO).await {
        tracing::warn!("{unfinished}");
    }
    if tokio::time::timeout(POOL_CLOSE_TIMEOUT, database.close())
        .await
        .is_err()
    {
        tracing::warn!("Some database connections were aborted");
    }
    database::stop(managed).await;
    if result.is_ok() {
        tracing::info!("Stopped");
    }
    result
}

async fn run(
    (config, file): (&Config, Option<PathBuf>),
    sockets: Sockets,
    opened: Opened,
    workers: &Workers,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let database = opened.database.clone();
    let (dependencies, changes) = workers.start(config, opened, Clock::system());
    let app = app::build(config, dependencies).await?;
    workers.run_maintenance(&database, &app, changes);
    let has_admin = app.identity.has_admin().await?;
    let reload = Reload {
        file,
        federation: app.federation.clone(),
        certificate: sockets.certificate(),
    };
    let stopping = workers.supervisor.stopping();
    let ready = ready::router(database, stopping);
    let routers = Routers {
        federation: api::routes::federation_routes()
            .into_router(app.clone())
            .merge(ready.clone()),
        client: api::routes::all().into_router(app).merge(ready),
    };
    let max_body = config
        .client
        .max_body
        .max(config.media.max_upload_size)
        .as_usize();
    let (mut serving, abort) = sockets.serve(
        routers.map(|router| stack::wrap(router, max_body)),
        &workers.supervisor,
    )?;
    log_ready(config, has_admin);

    let outcome = tokio::select! {
        () = signals.next(|| reload.run()) => Ok(()),
        () = workers.supervisor.broken() => {
            Err(anyhow::anyhow!("an essential task failed"))
        }
    };
    tracing::info!("Stopping: finishing requests in flight");
    tokio::select! {
        () = finish(&mut serving, workers) => {}
        () = tokio::time::sleep(SHUTDOWN_GRACE_PERIOD) => tracing::warn!("Stopping now: some requests did not finish in time"),
        () = signals.next(|| ()) => tracing::warn!("Stopping now: some requests are not finished"),
    }
    abort.cancel();
    while serving.join_next().await.is_some() {}
    outcome
}

/// Soft stop: no new connections; long polls return, requests finish, then background tasks end.
async fn finish(serving: &mut JoinSet<()>, workers: &Workers) {
    workers.supervisor.stopping().cancel();
    while serving.join_next().await.is_some() {}
    if let Err(unfinished) = workers.stop(SHUTDOWN_GRACE_PERIOD).await {
        tracing::warn!("{unfinished}");
    }
}

/// Logs that the server is ready, and how to create the first administrator.
fn log_ready(config: &Config, has_admin: bool) {
    if !has_admin {
        let program = std::env::args_os()
            .next()
            .unwrap_or_else(|| "chancery".into());
        let program = program.display();
        tracing::info!("Create the first administrator with: {program} user create NAME --admin");
    }
    let base_url = config.public_base_url();
    tracing::info!(server.name = %config.server_name, "Ready: point a Matrix client at {base_url}");
}
