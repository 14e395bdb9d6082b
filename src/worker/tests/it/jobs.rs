//! Jobs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use testkit::TestDatabase;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use worker::{
    Jobs,
    jobs::{JobError, JobState, RunningJob, Schedule},
};

/// Counts to the number that it is given, one step in each transaction.
async fn count(job: RunningJob, steps: Arc<AtomicU32>) -> Result<(), JobError> {
    let from = job.progress::<u32>()?.unwrap_or_default();
    for number in from..job.arguments::<u32>()? {
        let tx = job.begin().await?;
        steps.fetch_add(1, Ordering::Relaxed);
        job.save(tx, &(number + 1)).await?;
    }
    Ok(())
}

fn counting(test: &TestDatabase, lease: Duration) -> (Jobs, Arc<AtomicU32>) {
    let jobs = Jobs::with_lease(test.database.clone(), lease);
    let steps = Arc::<AtomicU32>::default();
    let counted = Arc::clone(&steps);
    jobs.register("count", Schedule::OnDemand, move |job| {
        count(job, Arc::clone(&counted))
    });
    (jobs, steps)
}

async fn enqueue(test: &TestDatabase, jobs: &Jobs, name: &str, to: u32) -> i64 {
    let mut tx = test.database.begin().await.expect("a transaction");
    let job_id = jobs
        .enqueue(&mut tx, name, "key", &to)
        .await
        .expect("a job");
    tx.commit().await.expect("committed");
    job_id
}

async fn run_one(jobs: &Jobs) -> bool {
    let stopping = CancellationToken::new();
    jobs.run_one(&stopping).await.expect("no failure")
}

async fn state(jobs: &Jobs, job_id: i64) -> JobState {
    let job = jobs.find(job_id).await.expect("an answer").expect("a job");
    job.state
}

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_job_is_done_once() {
    let test = testkit::database().await;
    let (jobs, steps) = counting(&test, LONG);
    let job_id = enqueue(&test, &jobs, "count", 3).await;
    assert_eq!(enqueue(&test, &jobs, "count", 5).await, job_id);
    assert!(run_one(&jobs).await);
    assert!(!run_one(&jobs).await);
    assert_eq!(state(&jobs, job_id).await, JobState::Done);
    assert_eq!(steps.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_job_of_a_killed_process_resumes_from_its_progress() {
    let test = testkit::database().await;
    // Its process is taken to be dead at once.
    let killed = Jobs::with_lease(test.database.clone(), Duration::ZERO);
    let saved = Arc::new(Notify::new());
    let notify = Arc::clone(&saved);
    killed.register("count", Schedule::OnDemand, move |job| {
        let saved = Arc::clone(&notify);
        async move {
            let tx = job.begin().await?;
            job.save(tx, &2).await?;
            saved.notify_one();
            std::future::pending().await
        }
    });
    let job_id = enqueue(&test, &killed, "count", 5).await;
    let stopping = CancellationToken::new();
    tokio::select! {
        biased;
        _ = async { tokio::join!(killed.run_one(&stopping), std::future::pending::<()>()) } => {}
        () = saved.notified() => {}
    }
    assert_eq!(state(&killed, job_id).await, JobState::Running);
    let (jobs, steps) = counting(&test, LONG);
    assert!(run_one(&jobs).await);
    assert_eq!(state(&jobs, job_id).await, JobState::Done);
    assert_eq!(steps.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_process_that_lost_its_job_writes_nothing() {
    let test = testkit::database().await;
    let (other, _) = counting(&test, LONG);
    let lost = Jobs::with_lease(test.database.clone(), Duration::ZERO);
    let refused = Arc::<AtomicU32>::default();
    let counted = Arc::clone(&refused);
    lost.register("count", Schedule::OnDemand, move |job| {
        let (other, refused) = (other.clone(), Arc::clone(&counted));
        async move {
            assert!(run_one(&other).await, "it can be taken over");
            let tx = job.begin().await?;
            let result = job.save(tx, &1).await;
            if matches!(
                result,
                Err(JobError::Storage(storage::Error::LeaseLost { .. }))
            ) {
                refused.fetch_add(1, Ordering::Relaxed);
            }
            result
        }
    });
    let job_id = enqueue(&test, &lost, "count", 3).await;
    assert!(run_one(&lost).await);
    let job = lost.find(job_id).await.expect("an answer").expect("a job");
    assert_eq!(job.state, JobState::Done);
    assert_eq!(job.progress.as_deref(), Some("3"));
    // Its sign of life may have come to know first.
    assert!(refused.load(Ordering::Relaxed) <= 1);
}

#[tokio::test]
async fn a_job_can_be_cancelled() {
    let test = testkit::database().await;
    let (jobs, steps) = counting(&test, LONG);
    let job_id = enqueue(&test, &jobs, "count", 3).await;
    jobs.cancel(job_id).await.expect("asked");
    assert!(!run_one(&jobs).await);
    assert_eq!(state(&jobs, job_id).await, JobState::Cancelled);
    assert_eq!(steps.load(Ordering::Relaxed), 0);
    // While it runs, when it saves its progress.
    let cancelling = jobs.clone();
    jobs.register("cancelled", Schedule::OnDemand, move |job| {
        let jobs = cancelling.clone();
        async move {
            jobs.cancel(job.arguments().unwrap_or_default()).await?;
            let tx = job.begin().await?;
            job.save(tx, &1).await
        }
    });
    let mut tx = test.database.begin().await.expect("a transaction");
    let job_id = jobs
        .enqueue(&mut tx, "cancelled", "", &(job_id + 1))
        .await
        .expect("a job");
    tx.commit().await.expect("committed");
    assert!(run_one(&jobs).await);
    assert_eq!(state(&jobs, job_id).await, JobState::Cancelled);
}

#[tokio::test]
async fn a_periodic_job_is_run_by_one_process_when_it_is_due() {
    let test = testkit::database().await;
    let other = TestDatabase::open(test.options.clone()).await;
    let runs = Arc::<AtomicU32>::default();
    let jobs = [&test, &other].map(|database| {
        let jobs = Jobs::new(database.database.clone());
        let runs = Arc::clone(&runs);
        jobs.register(
            "hourly",
            Schedule::Every(Duration::from_hours(1)),
            move |_| {
                runs.fetch_add(1, Ordering::Relaxed);
                async { Ok(()) }
            },
        );
        jobs
    });
    for jobs in &jobs {
        jobs.schedule().await.expect("scheduled");
    }
    assert!(run_one(&jobs[0]).await);
    assert!(!run_one(&jobs[1]).await);
    assert!(!run_one(&jobs[0]).await);
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_failed_job_is_retried_later_and_records_its_error() {
    let test = testkit::database().await;
    let jobs = Jobs::new(test.database.clone());
    jobs.register("fails", Schedule::OnDemand, |_| async {
        Err(JobError::Failed("for a reason".to_owned()))
    });
    jobs.register("hopeless", Schedule::OnDemand, |_| async {
        Err(JobError::Hopeless("for ever".to_owned()))
    });
    let job_id = enqueue(&test, &jobs, "fails", 0).await;
    assert!(run_one(&jobs).await);
    let job = jobs.find(job_id).await.expect("an answer").expect("a job");
    assert_eq!((job.state, job.failures), (JobState::Waiting, 1));
    assert_eq!(job.error.as_deref(), Some("for a reason"));
    assert!(!run_one(&jobs).await);
    let job_id = enqueue(&test, &jobs, "hopeless", 0).await;
    assert!(run_one(&jobs).await);
    assert_eq!(state(&jobs, job_id).await, JobState::Failed);
}
