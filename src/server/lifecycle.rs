//! Start-up and shutdown, each in one order that can be read from top to bottom.

mod signals;

use std::time::Duration;

use config::Config;
use tokio::task::JoinSet;
use types::Clock;

use crate::{
    app,
    database::{self, Opened, Sharing},
    ready,
    sockets::{Routers, Sockets},
    stack, telemetry,
    workers::Workers,
};
use signals::Signals;

/// What is in flight gets this long to finish.
const GRACE: Duration = Duration::from_secs(30);
/// Connections to the database that dropped tasks held are given back within this time.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Runs the server until a signal, or until something fails without which it cannot go on.
pub(crate) async fn serve(mut config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let recorder = config
        .metrics
        .listen
        .as_ref()
        .map(|_| telemetry::metrics())
        .transpose()?;
    let sockets = Sockets::bind(&config, recorder).await?;
    config.client.public_base_url = Some(sockets.base_url(&config)?);
    let opened = database::open(&config, Sharing::Own).await?;
    let (database, managed) = (opened.database.clone(), opened.managed.clone());
    let workers = Workers::default();

    let result = run(&config, sockets, opened, &workers, &mut signals).await;

    if let Err(unfinished) = workers.stop(Duration::ZERO).await {
        tracing::warn!("{unfinished}");
    }
    if tokio::time::timeout(CLOSE_WITHIN, database.close())
        .await
        .is_err()
    {
        tracing::warn!("Some database connections were cut off");
    }
    database::stop(managed).await;
    if result.is_ok() {
        tracing::info!("Stopped");
    }
    result
}

async fn run(
    config: &Config,
    sockets: Sockets,
    opened: Opened,
    workers: &Workers,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let database = opened.database.clone();
    let ground = workers.start(config, opened, Clock::system());
    let app = app::build(config, ground).await?;
    workers.keep_house(&app);
    let has_admin = app.identity.has_admin().await?;
    let stopping = workers.supervisor.stopping();
    let ready = ready::router(database, stopping);
    let routers = Routers {
        servers: api::routes::for_servers()
            .into_router(app.clone())
            .merge(ready.clone()),
        clients: api::routes::all().into_router(app).merge(ready),
    };
    let max_body = config
        .client
        .max_body
        .max(config.media.max_upload_size)
        .as_usize();
    let (mut serving, cut_off) = sockets.serve(
        routers.map(|router| stack::wrap(router, max_body)),
        &workers.supervisor,
    )?;
    announce(config, has_admin);

    let outcome = tokio::select! {
        () = signals.next() => Ok(()),
        () = workers.supervisor.broken() => {
            Err(anyhow::anyhow!("a part failed without which the server cannot go on"))
        }
    };
    tracing::info!("Stopping: finishing what is in flight");
    tokio::select! {
        () = finish(&mut serving, workers) => {}
        () = tokio::time::sleep(GRACE) => tracing::warn!("Stopping now: not everything finished in time"),
        () = signals.next() => tracing::warn!("Stopping now: not everything is finished"),
    }
    cut_off.cancel();
    while serving.join_next().await.is_some() {}
    outcome
}

/// Soft stop: no new connections; long polls answer, requests finish, then what works for them.
async fn finish(serving: &mut JoinSet<()>, workers: &Workers) {
    workers.supervisor.stopping().cancel();
    while serving.join_next().await.is_some() {}
    if let Err(unfinished) = workers.stop(GRACE).await {
        tracing::warn!("{unfinished}");
    }
}

/// Tells what a person who starts the server wants to know next.
fn announce(config: &Config, has_admin: bool) {
    if !has_admin {
        let program = std::env::args_os()
            .next()
            .unwrap_or_else(|| "chancery".into());
        let program = program.display();
        tracing::info!("Make the first administrator with: {program} user create NAME --admin");
    }
    let base_url = config.public_base_url();
    tracing::info!(server.name = %config.server_name, "Ready: point a Matrix client at {base_url}");
}
