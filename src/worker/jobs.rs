//! Jobs: work that is done once by one of the processes, goes on after a restart where it had come to,
//! and can be watched and cancelled.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use parking_lot::RwLock;
use serde::{Serialize, de::DeserializeOwned};
use storage::{
    Database, Tx,
    jobs::{self, ClaimedJob, JobEnd, NewJob},
};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

pub use storage::jobs::{Job, JobState};

/// How long a process is taken to work on a job without a sign of life.
const LEASE: Duration = Duration::from_secs(30);
/// How often a process gives signs of life at most.
const SIGNS: Duration = Duration::from_secs(1);
/// How often a process polls for jobs that others have left or added.
const POLL: Duration = Duration::from_secs(10);
/// How long a failed job waits at first; twice as long after each further failure.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// How often in a row a job may fail.
const MAX_FAILURES: i32 = 10;

/// Why a job did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The database failed, or another process has taken the job over.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// It is to be cancelled.
    #[error("The job is cancelled")]
    Cancelled,
    /// It failed and may succeed later.
    #[error("{0}")]
    Failed(String),
    /// It cannot succeed.
    #[error("{0}")]
    Hopeless(String),
}

/// When a job is done.
#[derive(Clone, Copy, Debug)]
pub enum Schedule {
    /// When it is asked for, with [`Jobs::enqueue`].
    OnDemand,
    /// Again and again with this pause, by one of the processes.
    Every(Duration),
}

type Handler = Arc<dyn Fn(RunningJob) -> BoxFuture<'static, Result<(), JobError>> + Send + Sync>;

/// All jobs; cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    database: Database,
    handlers: RwLock<BTreeMap<&'static str, (Schedule, Handler)>>,
    lease: Duration,
    enqueued: Notify,
}

/// A job that this process works on.
#[derive(Debug)]
pub struct RunningJob {
    database: Database,
    claimed: ClaimedJob,
    lease: Duration,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers = self.0.handlers.read();
        f.debug_tuple("Jobs").field(&handlers.keys()).finish()
    }
}

impl Jobs {
    /// Jobs in this database.
    pub fn new(database: Database) -> Self {
        Self::with_lease(database, LEASE)
    }

    /// The same with another time after which a process without a sign of life loses its job.
    pub fn with_lease(database: Database, lease: Duration) -> Self {
        Self(Arc::new(Inner {
            database,
            handlers: RwLock::default(),
            lease,
            enqueued: Notify::new(),
        }))
    }

    /// Names what does the jobs of a name. It must be safe to do again what it did since it saved
    /// its progress.
    pub fn register<R, F>(&self, name: &'static str, schedule: Schedule, run: R)
    where
        R: Fn(RunningJob) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |job| run(job).boxed());
        self.0.handlers.write().insert(name, (schedule, handler));
    }

    /// Adds a job in the caller's transaction, unless an unfinished one has its name and key;
    /// returns its number.
    pub async fn enqueue<T: Serialize + Sync>(
        &self,
        tx: &mut Tx,
        name: &str,
        key: &str,
        arguments: &T,
    ) -> Result<i64, JobError> {
        let arguments = encode(arguments)?;
        let job = NewJob {
            name,
            key,
            arguments: &arguments,
            after: Duration::ZERO,
        };
        let job_id = jobs::insert(tx, &job).await?;
        // Before the commit it is too early, then the next poll finds it.
        self.0.enqueued.notify_one();
        Ok(job_id)
    }

    /// How a job stands.
    pub async fn find(&self, job_id: i64) -> Result<Option<Job>, JobError> {
        let mut db = self.0.database.acquire().await?;
        Ok(jobs::find(&mut db, job_id).await?)
    }

    /// Asks for a job to be cancelled.
    pub async fn cancel(&self, job_id: i64) -> Result<(), JobError> {
        let mut db = self.0.database.acquire().await?;
        Ok(jobs::cancel(&mut db, job_id).await?)
    }

    /// Runs jobs until it is cancelled.
    pub async fn run(&self, stopping: CancellationToken) -> Result<(), JobError> {
        self.schedule().await?;
        loop {
            while !stopping.is_cancelled() && self.run_one(&stopping).await? {}
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                () = self.0.enqueued.notified() => {}
                () = sleep(POLL) => {}
            }
        }
    }

    /// Adds those jobs that are done again and again.
    pub async fn schedule(&self) -> Result<(), JobError> {
        let names: Vec<&'static str> = {
            let handlers = self.0.handlers.read();
            let periodic =
                |(_, (schedule, _)): &(_, &(Schedule, _))| matches!(schedule, Schedule::Every(_));
            handlers
                .iter()
                .filter(periodic)
                .map(|(name, _)| *name)
                .collect()
        };
        let mut db = self.0.database.acquire().await?;
        for name in names {
            let job = NewJob {
                name,
                key: "",
                arguments: "null",
                after: Duration::ZERO,
            };
            jobs::insert(&mut db, &job).await?;
        }
        Ok(())
    }

    /// Does the job that has waited longest; `false` if none is due.
    pub async fn run_one(&self, stopping: &CancellationToken) -> Result<bool, JobError> {
        let names: Vec<String> = {
            let handlers = self.0.handlers.read();
            handlers.keys().map(ToString::to_string).collect()
        };
        let claimed = {
            let mut db = self.0.database.acquire().await?;
            let holder = self.0.database.process();
            jobs::claim(&mut db, &names, holder, self.0.lease).await?
        };
        let Some(claimed) = claimed else {
            return Ok(false);
        };
        let handler = self.0.handlers.read().get(&*claimed.job.name).cloned();
        let Some((schedule, handler)) = handler else {
            return Ok(false);
        };
        let job = RunningJob {
            database: self.0.database.clone(),
            claimed: claimed.clone(),
            lease: self.0.lease,
        };
        let end = tokio::select! {
            result = handler(job) => end(&claimed.job, schedule, result),
            result = self.keep(&claimed) => end(&claimed.job, schedule, Err(result)),
            () = stopping.cancelled() => JobEnd::Released,
        };
        let mut db = self.0.database.acquire().await?;
        match claimed.end(&mut db, end).await {
            // It goes on elsewhere.
            Err(storage::Error::LeaseLost { name }) => {
                tracing::warn!(job = claimed.job.name, "Another process has taken {name}");
            }
            result => result?,
        }
        Ok(true)
    }

    /// Gives signs of life; ends when there is a reason for the work to end.
    async fn keep(&self, claimed: &ClaimedJob) -> JobError {
        loop {
            sleep((self.0.lease / 3).max(SIGNS)).await;
            let sign = async {
                let mut db = self.0.database.acquire().await?;
                claimed.check(&mut db, self.0.lease).await
            };
            match sign.await {
                Ok(true) => return JobError::Cancelled,
                Ok(false) => {}
                Err(error) => return error.into(),
            }
        }
    }
}

impl RunningJob {
    /// What the job was added with.
    pub fn arguments<T: DeserializeOwned>(&self) -> Result<T, JobError> {
        decode(&self.claimed.job.arguments)
    }

    /// How far it has come, as it was saved last.
    pub fn progress<T: DeserializeOwned>(&self) -> Result<Option<T>, JobError> {
        self.claimed.job.progress.as_deref().map(decode).transpose()
    }

    /// Begins a transaction for a step of the work.
    pub async fn begin(&self) -> Result<Tx, JobError> {
        Ok(self.database.begin().await?)
    }

    /// Commits a step of the work together with how far the job has come. Fails, and writes nothing,
    /// if another process has taken the job or it is to be cancelled.
    pub async fn save<T: Serialize + Sync>(
        &self,
        mut tx: Tx,
        progress: &T,
    ) -> Result<(), JobError> {
        let progress = encode(progress)?;
        if self.claimed.check(&mut tx, self.lease).await? {
            return Err(JobError::Cancelled);
        }
        self.claimed.save_progress(&mut tx, &progress).await?;
        Ok(tx.commit().await?)
    }
}

fn end(job: &Job, schedule: Schedule, result: Result<(), JobError>) -> JobEnd {
    let error = match (result, schedule) {
        (Ok(()), Schedule::OnDemand) => return JobEnd::Done,
        (Ok(()), Schedule::Every(pause)) => return JobEnd::Again(pause),
        (Err(JobError::Cancelled), _) => return JobEnd::Cancelled,
        (Err(error), _) => error,
    };
    tracing::warn!(job = job.name, job_id = job.job_id, %error, "A job failed");
    match (error, schedule) {
        (error, Schedule::Every(pause)) => JobEnd::Retry(retry(job).min(pause), error.to_string()),
        (JobError::Hopeless(error), _) => JobEnd::Failed(error),
        (error, _) if job.failures + 1 >= MAX_FAILURES => JobEnd::Failed(error.to_string()),
        (error, _) => JobEnd::Retry(retry(job), error.to_string()),
    }
}

fn retry(job: &Job) -> Duration {
    let doublings = u32::try_from(job.failures).unwrap_or_default().min(8);
    FIRST_RETRY * 2_u32.pow(doublings)
}

fn encode<T: Serialize>(value: &T) -> Result<String, JobError> {
    serde_json::to_string(value).map_err(|error| JobError::Hopeless(error.to_string()))
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T, JobError> {
    serde_json::from_str(text).map_err(|error| JobError::Hopeless(error.to_string()))
}
