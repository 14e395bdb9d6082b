//! Runs named tasks, restarts those that fail, and stops all of them together.

mod metrics;

use std::{any::Any, fmt::Display, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Runs named tasks; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Supervisor(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tasks: TaskTracker,
    running: Mutex<Vec<&'static str>>,
    /// Asks tasks to stop.
    stopping: CancellationToken,
    /// Drops tasks at their next await point.
    aborting: CancellationToken,
    /// An essential task has failed.
    broken: CancellationToken,
}

/// Tasks that were aborted because they did not stop in time.
#[derive(Debug, thiserror::Error)]
#[error("These tasks did not stop in time: {}", .0.join(", "))]
pub struct UnfinishedTasks(pub Vec<&'static str>);

impl Supervisor {
    /// Cancelled when tasks should stop; also for long polls.
    pub fn stopping(&self) -> CancellationToken {
        self.0.stopping.clone()
    }

    /// Waits until an essential task has failed.
    pub async fn broken(&self) {
        self.0.broken.cancelled().await;
    }

    /// Runs a task until [`Self::stop`]; restarts it with exponential backoff when it fails or panics.
    ///
    /// A task that returns `Ok` is not restarted. It receives the stop token.
    pub fn spawn<R, F, E>(&self, name: &'static str, mut run: R)
    where
        R: FnMut(CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send,
        E: Display + Send,
    {
        let stopping = self.0.stopping.clone();
        self.track(name, async move {
            let mut backoff = INITIAL_BACKOFF;
            loop {
                let started = tokio::time::Instant::now();
                let Err(reason) = outcome(run(stopping.clone())).await else { return };
                if stopping.is_cancelled() {
                    tracing::warn!(task = name, %reason, "A background task failed while stopping");
                    return;
                }
                // The task ran long enough to reset the backoff.
                if started.elapsed() > MAX_BACKOFF {
                    backoff = INITIAL_BACKOFF;
                }
                tracing::error!(task = name, %reason, backoff_ms = backoff.as_millis() as u64, "A background task failed and will be restarted");
                metrics::restarted(name);
                if stopping.run_until_cancelled(tokio::time::sleep(backoff)).await.is_none() {
                    return;
                }
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        });
    }

    /// Runs a task that ends by itself when it is no longer needed; if it panics, the server is [broken](Self::broken).
    pub fn spawn_essential(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let broken = self.0.broken.clone();
        self.track(name, async move {
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                tracing::error!(
                    task = name,
                    reason = text(&*panic),
                    "An essential task failed"
                );
                broken.cancel();
            }
        });
    }

    /// Stops all tasks and waits for them; aborts those that have not ended `within` this time.
    pub async fn stop(&self, within: Duration) -> Result<(), UnfinishedTasks> {
        self.0.stopping.cancel();
        self.0.tasks.close();
        if tokio::time::timeout(within, self.0.tasks.wait())
            .await
            .is_ok()
        {
            return Ok(());
        }
        let unfinished = self.0.running.lock().clone();
        self.0.aborting.cancel();
        self.0.tasks.wait().await;
        Err(UnfinishedTasks(unfinished))
    }

    fn track(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let inner = Arc::clone(&self.0);
        inner.running.lock().push(name);
        metrics::running(name, 1.0);
        self.0.tasks.spawn(async move {
            inner.aborting.run_until_cancelled(task).await;
            let mut running = inner.running.lock();
            if let Some(index) = running.iter().position(|other| *other == name) {
                running.swap_remove(index);
            }
            metrics::running(name, -1.0);
        });
    }
}

/// Runs a task once; a panic is a failure like others.
async fn outcome<E: Display>(task: impl Future<Output = Result<(), E>>) -> Result<(), String> {
    match AssertUnwindSafe(task).catch_unwind().await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(format!("panicked: {}", text(&*panic))),
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a text")
}

#[cfg(test)]
mod tests;
