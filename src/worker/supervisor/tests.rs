use std::{
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc;

use super::*;

#[tokio::test]
async fn a_task_that_fails_or_panics_is_run_again() {
    let supervisor = Supervisor::default();
    let (runs, mut seen) = mpsc::unbounded_channel();
    let count = AtomicUsize::new(0);
    supervisor.spawn("flaky", move |_| {
        let run = count.fetch_add(1, Ordering::Relaxed);
        let runs = runs.clone();
        async move {
            runs.send(run).unwrap();
            match run {
                0 => Err("out of luck".to_owned()),
                1 => panic!("out of mind"),
                _ => Ok(()),
            }
        }
    });
    let mut all = Vec::new();
    while let Some(run) = seen.recv().await {
        all.push(run);
    }
    assert_eq!(all, [0, 1, 2]);
    supervisor.stop(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test]
async fn tasks_end_when_stopping_is_requested() {
    let supervisor = Supervisor::default();
    let (ended, mut seen) = mpsc::unbounded_channel();
    supervisor.spawn("follower", move |stopping| {
        let ended = ended.clone();
        async move {
            stopping.cancelled().await;
            ended.send("after its batch").unwrap();
            Ok::<_, String>(())
        }
    });
    supervisor.stop(Duration::from_mins(1)).await.unwrap();
    assert_eq!(seen.recv().await, Some("after its batch"));
}

#[tokio::test]
async fn a_task_that_does_not_end_is_aborted_and_named() {
    let supervisor = Supervisor::default();
    supervisor.spawn("deaf", |_| pending::<Result<(), String>>());
    let UnfinishedTasks(names) = supervisor.stop(Duration::ZERO).await.unwrap_err();
    assert_eq!(names, ["deaf"]);
}

#[tokio::test]
async fn the_server_is_broken_when_an_essential_task_panics() {
    let supervisor = Supervisor::default();
    supervisor.spawn_essential("fine", async {});
    supervisor.spawn_essential("essential", async { panic!("cannot go on") });
    supervisor.broken().await;
    supervisor.stop(Duration::from_secs(1)).await.unwrap();
}
