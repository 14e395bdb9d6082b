//! What runs behind the requests, and in which order it ends.

use std::{convert::Infallible, sync::Arc, time::Duration};

use api::App;
use config::Config;
use live::Live;
use storage::{Committer, Feed};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use types::Clock;
use worker::{Supervisor, Unfinished};

use crate::{app::Ground, database::Opened};

/// How often it is looked for closed accounts that are still in rooms.
const SEEING_OUT: Duration = Duration::from_hours(1);

/// The tasks of this process.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    pub(crate) supervisor: Supervisor,
    /// Cancelled after the last request, for tasks that requests in flight wait for.
    served: CancellationToken,
}

impl Workers {
    /// Starts what requests stand on.
    pub(crate) fn start(&self, config: &Config, opened: Opened, clock: Clock) -> Ground {
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
        let (tell, hear) = feed.connect_cluster();
        self.until_served("storage.tell_peers", tell);
        self.until_served("storage.hear_peers", hear);
        // Half of what all caches may take; rooms' heads and tokens have the rest.
        let live = Live::new(database.clone(), &feed, config.cache.total.as_usize() / 2);
        self.follow(live.clone(), feed);
        Ground {
            database,
            committer,
            live,
            clock,
            stopping: self.supervisor.stopping(),
        }
    }

    /// Starts what nobody waits for.
    pub(crate) fn keep_house(&self, app: &App) {
        let identity = app.identity.clone();
        self.supervisor
            .spawn("identity.keep_house", move |stopping| {
                identity.clone().keep_house(stopping)
            });
        let app = app.clone();
        self.supervisor.spawn("server.see_out", move |stopping| {
            let app = app.clone();
            async move {
                stopping
                    .run_until_cancelled(see_out(&app))
                    .await
                    .unwrap_or(Ok(()))
            }
        });
    }

    /// Asks all tasks to end, now that no request is left, and waits for them.
    pub(crate) async fn stop(&self, within: Duration) -> Result<(), Unfinished> {
        self.served.cancel();
        self.supervisor.stop(within).await
    }

    fn follow(&self, live: Live, feed: Feed) {
        let (served, feed) = (self.served.clone(), Arc::new(Mutex::new(feed)));
        self.supervisor.spawn("live.follow", move |_stopping| {
            let (live, served, feed) = (live.clone(), served.clone(), Arc::clone(&feed));
            async move {
                let mut feed = feed.lock().await;
                served
                    .run_until_cancelled(live.run(&mut feed))
                    .await
                    .unwrap_or(Ok(()))
            }
        });
    }

    fn until_served(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let served = self.served.clone();
        self.supervisor.spawn_essential(name, async move {
            served.run_until_cancelled(task).await;
        });
    }
}

/// Makes closed accounts leave the rooms that a crash or a failure left them in.
async fn see_out(app: &App) -> anyhow::Result<()> {
    let mut hourly = tokio::time::interval(SEEING_OUT);
    loop {
        hourly.tick().await;
        for user_id in app.identity.closed_in_rooms().await? {
            if let Err(error) = app.rooms.leave_all(&user_id).await {
                tracing::warn!(user.id = %user_id, %error, "A closed account could not leave all rooms yet");
            }
        }
    }
}
