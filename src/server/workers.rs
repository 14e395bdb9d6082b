//! Background tasks and their shutdown order.

use std::{convert::Infallible, sync::Arc, time::Duration};

use api::App;
use config::Config;
use live::Live;
use storage::{Committer, Feed};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use types::Clock;
use worker::{Supervisor, Unfinished};

use crate::{app::Dependencies, database::Opened};

/// How often deactivated users who are still in rooms are looked up.
const DEACTIVATED_CHECK_INTERVAL: Duration = Duration::from_hours(1);

/// The tasks of this process.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    pub(crate) supervisor: Supervisor,
    /// Cancelled after the last request, for tasks that requests in flight depend on.
    drained: CancellationToken,
}

impl Workers {
    /// Starts the tasks that requests depend on.
    pub(crate) fn start(&self, config: &Config, opened: Opened, clock: Clock) -> Dependencies {
        let Opened {
            database,
            mut feed,
            managed,
        } = opened;
        if let Some(managed) = managed {
            self.supervisor
                .spawn("postgres.supervise", move |stopping| {
                    let managed = Arc::clone(&managed);
                    async move {
                        stopping.run_until_cancelled(managed.supervise()).await;
                        Ok::<_, Infallible>(())
                    }
                });
        }
        let (committer, commit) = Committer::new(database.clone());
        self.supervisor.spawn_essential("storage.commit", commit);
        let (publish, subscribe) = feed.connect_cluster();
        self.spawn_until_drained("storage.publish_peer_messages", publish);
        self.spawn_until_drained("storage.subscribe_peer_messages", subscribe);
        // Half of the cache budget; room heads and tokens have the rest.
        let live = Live::new(database.clone(), &feed, config.cache.total.as_usize() / 2);
        self.follow(live.clone(), feed);
        Dependencies {
            database,
            committer,
            live,
            clock,
            stopping: self.supervisor.stopping(),
        }
    }

    /// Starts maintenance tasks.
    pub(crate) fn run_maintenance(&self, app: &App) {
        let identity = app.identity.clone();
        self.supervisor
            .spawn("identity.maintenance", move |stopping| {
                identity.clone().run_maintenance(stopping)
            });
        let app = app.clone();
        self.supervisor
            .spawn("server.leave_rooms_of_deactivated", move |stopping| {
                let app = app.clone();
                async move {
                    stopping
                        .run_until_cancelled(leave_rooms_of_deactivated(&app))
                        .await
                        .unwrap_or(Ok(()))
                }
            });
    }

    /// Stops all tasks after the last request and waits for them.
    pub(crate) async fn stop(&self, within: Duration) -> Result<(), Unfinished> {
        self.drained.cancel();
        self.supervisor.stop(within).await
    }

    fn follow(&self, live: Live, feed: Feed) {
        let (drained, feed) = (self.drained.clone(), Arc::new(Mutex::new(feed)));
        self.supervisor.spawn("live.follow", move |_stopping| {
            let (live, drained, feed) = (live.clone(), drained.clone(), Arc::clone(&feed));
            async move {
                let mut feed = feed.lock().await;
                drained
                    .run_until_cancelled(live.run(&mut feed))
                    .await
                    .unwrap_or(Ok(()))
            }
        });
    }

    fn spawn_until_drained(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let drained = self.drained.clone();
        self.supervisor.spawn_essential(name, async move {
            drained.run_until_cancelled(task).await;
        });
    }
}

/// Makes deactivated users leave rooms that a crash or a failure left them in.
async fn leave_rooms_of_deactivated(app: &App) -> anyhow::Result<()> {
    let mut hourly = tokio::time::interval(DEACTIVATED_CHECK_INTERVAL);
    loop {
        hourly.tick().await;
        for user_id in app.identity.deactivated_with_rooms().await? {
            if let Err(error) = app.rooms.leave_all(&user_id).await {
                tracing::warn!(user.id = %user_id, %error, "A deactivated user could not leave all rooms yet");
            }
        }
    }
}
