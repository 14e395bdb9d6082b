//! Jobs: work that survives the process that does it. Each is done by one process at a time.

use std::time::Duration;

use crate::{Connection, Error, cluster::Process, leases::milliseconds};

/// A job to be done.
#[derive(Clone, Debug)]
pub struct NewJob<'a> {
    /// What kind of work it is.
    pub name: &'a str,
    /// Tells jobs of one name apart: there is one unfinished job of each name and key.
    pub key: &'a str,
    /// What its handler has to know, JSON.
    pub arguments: &'a str,
    /// How long it waits before it may begin.
    pub after: Duration,
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It waits for its time, or for a process.
    Waiting,
    /// A process works on it, or has been killed while it did.
    Running,
    /// It is done.
    Done,
    /// It was cancelled before it was done.
    Cancelled,
    /// It failed too often.
    Failed,
}

/// A row of `jobs`.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its number.
    pub job_id: i64,
    /// What kind of work it is.
    pub name: String,
    /// How it stands.
    pub state: JobState,
    /// What its handler has to know, JSON.
    pub arguments: String,
    /// How far it has come, as its handler wrote it down, JSON.
    pub progress: Option<String>,
    /// How often it failed in a row.
    pub failures: i32,
    /// Why it failed last.
    pub error: Option<String>,
    /// Whether it is to be cancelled.
    pub is_cancel_requested: bool,
}

/// A job that this process works on, as long as no other has taken it.
#[derive(Clone, Debug)]
pub struct ClaimedJob {
    /// The job, as it stood when it was taken.
    pub job: Job,
    token: i64,
}

/// What becomes of a job that a process has worked on.
#[derive(Clone, Debug)]
pub enum JobEnd {
    /// It is done.
    Done,
    /// It is cancelled, as was asked for.
    Cancelled,
    /// It is left for another process to go on with at once.
    Released,
    /// It is to be done again, from its beginning, after a while.
    Again(Duration),
    /// It failed and is to be tried again after a while, from where it came to.
    Retry(Duration, String),
    /// It failed for good.
    Failed(String),
}

struct Row {
    job_id: i64,
    name: String,
    state: i16,
    arguments: String,
    progress: Option<String>,
    failures: i32,
    error: Option<String>,
    cancel_requested: bool,
}

impl TryFrom<Row> for Job {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            job_id: row.job_id,
            name: row.name,
            state: JobState::from_number(row.state)?,
            arguments: row.arguments,
            progress: row.progress,
            failures: row.failures,
            error: row.error,
            is_cancel_requested: row.cancel_requested,
        })
    }
}

impl JobState {
    fn from_number(number: i16) -> Result<Self, Error> {
        match number {
            0 => Ok(Self::Waiting),
            1 => Ok(Self::Running),
            2 => Ok(Self::Done),
            3 => Ok(Self::Cancelled),
            4 => Ok(Self::Failed),
            _ => Err(Error::Corrupt(format!("job state {number}"))),
        }
    }

    fn number(self) -> i16 {
        match self {
            Self::Waiting => 0,
            Self::Running => 1,
            Self::Done => 2,
            Self::Cancelled => 3,
            Self::Failed => 4,
        }
    }
}

/// Adds a job, unless there is an unfinished one of its name and key; returns its number or that of
/// the one that is there.
pub async fn insert(db: &mut Connection, job: &NewJob<'_>) -> Result<i64, Error> {
    // The update changes nothing: it makes the row visible to RETURNING.
    let job_id = sqlx::query_scalar!(
        "INSERT INTO jobs AS j (name, key, arguments, run_at)
         VALUES ($1, $2, $3, clock_timestamp() + $4::bigint * interval '1 millisecond')
         ON CONFLICT (name, key) WHERE state < 2 DO UPDATE SET key = excluded.key
         RETURNING job_id",
        job.name,
        job.key,
        job.arguments,
        milliseconds(job.after)
    )
    .fetch_one(db)
    .await?;
    Ok(job_id)
}

/// How a job stands; `None` if there is none of that number.
pub async fn find(db: &mut Connection, job_id: i64) -> Result<Option<Job>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT job_id, name, state, arguments, progress, failures, error, cancel_requested
         FROM jobs WHERE job_id = $1",
        job_id
    )
    .fetch_optional(db)
    .await?;
    row.map(Job::try_from).transpose()
}

/// Asks for a job to be cancelled: at once if it waits, else when its handler checks next.
pub async fn cancel(db: &mut Connection, job_id: i64) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE jobs SET cancel_requested = true, state = CASE state WHEN 0 THEN 3 ELSE state END
         WHERE job_id = $1 AND state < 2",
        job_id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes the job of these names that has waited longest, among them those whose process has not
/// been heard of for too long.
pub async fn claim(
    db: &mut Connection,
    names: &[String],
    holder: Process,
    time: Duration,
) -> Result<Option<ClaimedJob>, Error> {
    let row = sqlx::query!(
        "UPDATE jobs SET state = 1, holder = $2, token = token + 1,
            lease_expires_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
         WHERE job_id = (
            SELECT job_id FROM jobs
            WHERE name = ANY($1) AND ((state = 0 AND run_at <= clock_timestamp())
                OR (state = 1 AND lease_expires_at <= clock_timestamp()))
            ORDER BY run_at, job_id LIMIT 1 FOR UPDATE SKIP LOCKED
         )
         RETURNING job_id, name, state, arguments, progress, failures, error, cancel_requested, token",
        names,
        holder.number,
        milliseconds(time)
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let token = row.token;
    let job = Job::try_from(Row {
        job_id: row.job_id,
        name: row.name,
        state: row.state,
        arguments: row.arguments,
        progress: row.progress,
        failures: row.failures,
        error: row.error,
        cancel_requested: row.cancel_requested,
    })?;
    Ok(Some(ClaimedJob { job, token }))
}

impl ClaimedJob {
    /// Makes sure, until the transaction ends, that no other process takes the job, and gives this
    /// one more time; tells whether the job is to be cancelled. Fails if another has taken it.
    pub async fn check(&self, db: &mut Connection, time: Duration) -> Result<bool, Error> {
        let cancelled = sqlx::query_scalar!(
            "UPDATE jobs SET lease_expires_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
             WHERE job_id = $1 AND token = $2 AND state = 1 RETURNING cancel_requested",
            self.job.job_id,
            self.token,
            milliseconds(time)
        )
        .fetch_optional(db)
        .await?;
        cancelled.ok_or_else(|| self.lost())
    }

    /// Writes down how far the job has come; fails if another process has taken it.
    pub async fn save_progress(&self, db: &mut Connection, progress: &str) -> Result<(), Error> {
        let result = sqlx::query!(
            "UPDATE jobs SET progress = $3 WHERE job_id = $1 AND token = $2 AND state = 1",
            self.job.job_id,
            self.token,
            progress
        )
        .execute(db)
        .await?;
        self.held(result.rows_affected())
    }

    /// Ends the work on the job; fails if another process has taken it.
    pub async fn end(&self, db: &mut Connection, end: JobEnd) -> Result<(), Error> {
        let is_again = matches!(end, JobEnd::Again(_));
        let (state, after, error) = match end {
            JobEnd::Done => (JobState::Done, None, None),
            JobEnd::Released => (JobState::Waiting, None, None),
            JobEnd::Cancelled => (JobState::Cancelled, None, None),
            JobEnd::Again(after) => (JobState::Waiting, Some(after), None),
            JobEnd::Retry(after, error) => (JobState::Waiting, Some(after), Some(error)),
            JobEnd::Failed(error) => (JobState::Failed, None, Some(error)),
        };
        let result = sqlx::query!(
            "UPDATE jobs SET state = $3, error = $5::text, lease_expires_at = NULL, holder = NULL,
                run_at = clock_timestamp() + COALESCE($4::bigint, 0) * interval '1 millisecond',
                failures = CASE WHEN $5::text IS NULL THEN 0 ELSE failures + 1 END,
                progress = CASE WHEN $6::boolean THEN NULL ELSE progress END
             WHERE job_id = $1 AND token = $2 AND state = 1",
            self.job.job_id,
            self.token,
            state.number(),
            after.map(milliseconds),
            error,
            is_again
        )
        .execute(db)
        .await?;
        self.held(result.rows_affected())
    }

    fn held(&self, rows: u64) -> Result<(), Error> {
        if rows == 1 { Ok(()) } else { Err(self.lost()) }
    }

    fn lost(&self) -> Error {
        Error::LeaseLost {
            name: format!("job {}", self.job.job_id),
        }
    }
}

/// Deletes finished jobs after a time; returns how many.
pub async fn delete_finished(db: &mut Connection, older_than: Duration) -> Result<u64, Error> {
    let result = sqlx::query!(
        "DELETE FROM jobs
         WHERE state >= 2 AND run_at < clock_timestamp() - $1::bigint * interval '1 millisecond'",
        milliseconds(older_than)
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}
