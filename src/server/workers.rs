//! Background tasks and their shutdown order.

use std::{convert::Infallible, sync::Arc, time::Duration};

use api::App;
use config::Config;
use live::Live;
use room::Sender;
use storage::{Committer, Database, Feed, feed::Subscription, maintenance};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use types::{Clock, RoomNid};
use worker::{
    Jobs, Supervisor, UnfinishedTasks,
    jobs::{JobError, RunningJob, Schedule},
};

use crate::{app::Dependencies, database::Opened};

/// The pause between two runs of most periodic jobs.
const HOURLY: Duration = Duration::from_hours(1);
/// The pause between two collections of state snapshots.
const DAILY: Duration = Duration::from_hours(24);
/// How many typing notifications wait to be sent to other servers.
const TYPING_NOTICES: usize = 1024;
/// How many notices of presence wait to be sent to other servers.
const PRESENCE_NOTICES: usize = 4096;
/// Rooms whose snapshots are collected in one transaction.
const ROOMS_AT_ONCE: i64 = 100;

/// The tasks of this process.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    pub(crate) supervisor: Supervisor,
    /// Cancelled after the last request, for tasks that requests in flight depend on.
    drained: CancellationToken,
}

impl Workers {
    /// Starts the tasks that requests depend on.
    pub(crate) fn start(
        &self,
        config: &Config,
        opened: Opened,
        clock: Clock,
    ) -> (Dependencies, Subscription) {
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
        // Three quarters of the cache budget; tokens and keys have the rest.
        let live = live::Settings {
            budget: config.cache.total.as_usize() / 4 * 3,
            max_typing_users: config.limits.typing_users_per_room as usize,
            presence: config.presence.enabled,
        };
        let live = Live::new(database.clone(), &feed, live);
        let changes = feed.subscribe();
        self.follow(live.clone(), feed);
        let typing = live.clone();
        self.restart_until_drained("live.follow_peers", move || {
            let live = typing.clone();
            async move { live.follow_peers().await }
        });
        let dependencies = Dependencies {
            database,
            committer,
            live,
            clock,
            stopping: self.supervisor.stopping(),
        };
        (dependencies, changes)
    }

    /// Starts the tasks behind the application: caches that follow the feed, and maintenance.
    pub(crate) fn run_maintenance(&self, database: &Database, app: &App, changes: Subscription) {
        let keys = app.keys.clone();
        self.spawn_until_drained("e2ee.follow", async move { keys.follow(changes).await });
        self.keep_remote_device_lists(app);
        let sessions = app.identity.clone();
        self.restart_until_drained("identity.follow_peers", move || {
            let identity = sessions.clone();
            async move { identity.follow_peers().await }
        });
        let identity = app.identity.clone();
        self.supervisor
            .spawn("identity.maintenance", move |stopping| {
                identity.clone().run_maintenance(stopping)
            });
        let media = app.media.clone();
        self.supervisor.spawn("media.maintenance", move |stopping| {
            media.clone().run_maintenance(stopping)
        });
        let following = app.delivery.clone();
        self.supervisor.spawn("delivery.follow", move |stopping| {
            let delivery = following.clone();
            async move { delivery.follow(stopping).await }
        });
        self.send_pushes(app);
        self.send_typing(app);
        self.send_presence(app);
        let sending = app.delivery.clone();
        self.supervisor.spawn("delivery.send", move |stopping| {
            let delivery = sending.clone();
            async move { delivery.send(stopping).await }
        });
        self.work_on_rooms(app);
        self.keep_search_index(app);
        let jobs = periodic_jobs(database, app);
        self.supervisor.spawn("worker.jobs", move |stopping| {
            let jobs = jobs.clone();
            async move { jobs.run(stopping).await }
        });
    }

    /// Fills gaps in the history of rooms, takes in events from the inbox, and completes the states of rooms.
    fn work_on_rooms(&self, app: &App) {
        let rooms = app.rooms.clone();
        self.supervisor.spawn("room.backfill", move |stopping| {
            let rooms = rooms.clone();
            async move {
                stopping.run_until_cancelled(rooms.fill_ahead()).await;
                Ok::<_, Infallible>(())
            }
        });
        let rooms = app.rooms.clone();
        self.supervisor.spawn("room.inbox", move |stopping| {
            let rooms = rooms.clone();
            async move { rooms.work_off_inbox(stopping).await }
        });
        let rooms = app.rooms.clone();
        self.supervisor
            .spawn("room.complete_states", move |stopping| {
                let rooms = rooms.clone();
                async move { rooms.complete_states(stopping).await }
            });
        self.send_delayed_events(app);
    }

    /// Sends delayed events when they are due, and cancels those whose place other state has taken.
    fn send_delayed_events(&self, app: &App) {
        let rooms = app.rooms.clone();
        self.supervisor
            .spawn("room.send_delayed_events", move |stopping| {
                let rooms = rooms.clone();
                async move { rooms.send_delayed_events(stopping).await }
            });
        let rooms = app.rooms.clone();
        self.supervisor
            .spawn("room.cancel_replaced_events", move |stopping| {
                let rooms = rooms.clone();
                async move { rooms.cancel_replaced_events(stopping).await }
            });
    }

    /// Keeps what searches for users and messages find up to date.
    fn keep_search_index(&self, app: &App) {
        let identity = app.identity.clone();
        self.supervisor
            .spawn("identity.follow_memberships", move |stopping| {
                let identity = identity.clone();
                async move { identity.follow_memberships(stopping).await }
            });
        let rooms = app.rooms.clone();
        self.supervisor.spawn("room.index_events", move |stopping| {
            let rooms = rooms.clone();
            async move { rooms.index_events(stopping).await }
        });
        let rooms = app.rooms.clone();
        self.supervisor
            .spawn("room.index_backlog", move |stopping| {
                let rooms = rooms.clone();
                async move { rooms.index_backlog(stopping).await }
            });
    }

    /// Tells push gateways of the notifications of users.
    fn send_pushes(&self, app: &App) {
        let push = app.push.clone();
        self.restart_until_drained("push.follow_peers", move || {
            let push = push.clone();
            async move { push.follow_peers().await }
        });
        let push = app.push.clone();
        self.supervisor.spawn("push.follow", move |stopping| {
            let push = push.clone();
            async move { push.follow(stopping).await }
        });
    }

    /// Sends to other servers what this process notices of its users' typing.
    fn send_typing(&self, app: &App) {
        let (sender, notices) = mpsc::channel(TYPING_NOTICES);
        app.live.notify_typing(sender);
        let (delivery, notices) = (app.delivery.clone(), Arc::new(Mutex::new(notices)));
        self.supervisor
            .spawn("delivery.send_typing", move |stopping| {
                let (delivery, notices) = (delivery.clone(), Arc::clone(&notices));
                async move { delivery.send_typing(&notices, stopping).await }
            });
    }

    /// Sends to other servers what this process notices of its users' presence.
    fn send_presence(&self, app: &App) {
        let (sender, notices) = mpsc::channel(PRESENCE_NOTICES);
        app.live.notify_presence(sender);
        let (delivery, live) = (app.delivery.clone(), app.live.clone());
        let notices = Arc::new(Mutex::new(notices));
        self.supervisor
            .spawn("delivery.send_presence", move |stopping| {
                let (delivery, live) = (delivery.clone(), live.clone());
                let notices = Arc::clone(&notices);
                async move { delivery.send_presence(&live, &notices, stopping).await }
            });
    }

    /// Keeps what is cached of the devices of users of other servers up to date.
    fn keep_remote_device_lists(&self, app: &App) {
        let keys = app.keys.clone();
        self.supervisor
            .spawn("e2ee.refresh_device_lists", move |stopping| {
                let keys = keys.clone();
                async move { keys.refresh_device_lists(stopping).await }
            });
        let keys = app.keys.clone();
        self.supervisor
            .spawn("e2ee.follow_memberships", move |stopping| {
                let keys = keys.clone();
                async move { keys.follow_memberships(stopping).await }
            });
    }

    /// Stops all tasks after the last request and waits for them.
    pub(crate) async fn stop(&self, within: Duration) -> Result<(), UnfinishedTasks> {
        self.drained.cancel();
        self.supervisor.stop(within).await
    }

    fn follow(&self, live: Live, feed: Feed) {
        let (drained, feed) = (self.drained.clone(), Arc::new(Mutex::new(feed)));
        self.supervisor.spawn("live.follow", move |_stopping| {
            let (live, drained, feed) = (live.clone(), drained.clone(), Arc::clone(&feed));
            async move {
                let mut feed = feed.lock().await;
                let followed = drained.run_until_cancelled(live.run(&mut feed)).await;
                match followed {
                    Some(result) => result,
                    None => live.store_unread_counts().await,
                }
            }
        });
    }

    /// Runs a task until the last request; starts it again if it panics.
    fn restart_until_drained<F: Future<Output = ()> + Send>(
        &self,
        name: &'static str,
        mut task: impl FnMut() -> F + Send + 'static,
    ) {
        let drained = self.drained.clone();
        self.supervisor.spawn(name, move |_stopping| {
            let (drained, task) = (drained.clone(), task());
            async move {
                drained.run_until_cancelled(task).await;
                Ok::<_, Infallible>(())
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

/// What is done now and then for all processes, by one of them.
fn periodic_jobs(database: &Database, app: &App) -> Jobs {
    let jobs = Jobs::new(database.clone());
    let leaving = app.clone();
    jobs.register(
        "rooms.leave_deactivated",
        Schedule::Every(HOURLY),
        move |_| leave_deactivated(leaving.clone()),
    );
    let (expiring, expired) = (app.clone(), database.clone());
    jobs.register(
        "storage.delete_expired",
        Schedule::Every(HOURLY),
        move |_| delete_expired(expired.clone(), expiring.clone()),
    );
    jobs.register(
        "storage.collect_snapshots",
        Schedule::Every(DAILY),
        collect_snapshots,
    );
    jobs
}

/// Makes deactivated users leave rooms that a crash or a failure left them in.
async fn leave_deactivated(app: App) -> Result<(), JobError> {
    let failed = |error: &dyn std::fmt::Display| JobError::Failed(error.to_string());
    let users = app.identity.deactivated_with_rooms().await;
    for user_id in users.map_err(|error| failed(&error))? {
        if let Err(error) = app.rooms.leave_all(&Sender::user(&user_id)).await {
            tracing::warn!(user.id = %user_id, %error, "A deactivated user could not leave all rooms yet");
        }
    }
    Ok(())
}

async fn delete_expired(database: Database, app: App) -> Result<(), JobError> {
    let now = i64::try_from(app.clock.now_ms()).unwrap_or(i64::MAX);
    maintenance::delete_expired(&mut *database.acquire().await?, now).await?;
    let expired = app.identity.delete_expired().await;
    expired.map_err(|error| JobError::Failed(error.to_string()))
}

/// Goes through the rooms, some in each transaction.
async fn collect_snapshots(job: RunningJob) -> Result<(), JobError> {
    let mut after = RoomNid(job.progress()?.unwrap_or_default());
    loop {
        let mut tx = job.begin().await?;
        let Some(last) = maintenance::collect_snapshots(&mut tx, after, ROOMS_AT_ONCE).await?
        else {
            return Ok(());
        };
        job.save(tx, &last.get()).await?;
        after = last;
    }
}

#[cfg(test)]
mod tests;
