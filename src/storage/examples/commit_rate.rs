//! Measures the committer alone: events per second and the processor time that they take here and in
//! PostgreSQL, at several numbers of concurrent writers.
//!
//!     cargo run --release -p storage --example commit_rate
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement, not a part of the server"
)]

use std::fs;

use testkit::TestDatabase;
use tokio::{task::JoinSet, time::Instant};

#[expect(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/it/support.rs"]
mod support;

const EVENTS: usize = 40_000;

#[tokio::main]
async fn main() {
    let test = testkit::database().await;
    println!("writers  events/s  us here  us postgres");
    for writers in [1, 16, 256] {
        let events = if writers == 1 { EVENTS / 20 } else { EVENTS };
        measure(&test, writers, events).await;
    }
}

/// Each writer appends to a room of its own, one event after the other.
async fn measure(test: &TestDatabase, writers: usize, events: usize) {
    let mut rooms = Vec::new();
    for _ in 0..writers {
        let mut room = support::Room::new(test).await;
        let created = test.committer.submit(room.next().await).await;
        created.durable().await.expect("created");
        rooms.push(room);
    }
    let before = (Instant::now(), own_ticks(), postgres_ticks());
    let mut tasks = JoinSet::new();
    for mut room in rooms {
        let committer = test.committer.clone();
        tasks.spawn(async move {
            for _ in 0..events / writers {
                let commit = committer.submit(room.next().await).await;
                commit.durable().await.expect("committed");
            }
        });
    }
    tasks.join_all().await;
    let per_event = |ticks: u64| ticks as f64 * 10_000.0 / events as f64;
    println!(
        "{writers:>7} {:>9.0} {:>8.0} {:>12.0}",
        events as f64 / before.0.elapsed().as_secs_f64(),
        per_event(own_ticks() - before.1),
        per_event(postgres_ticks() - before.2),
    );
}

/// Hundredths of a second of processor time of this process.
fn own_ticks() -> u64 {
    ticks("self").unwrap_or_default()
}

/// The same of all processes of PostgreSQL on this machine that run for this process.
fn postgres_ticks() -> u64 {
    let own = std::process::id().to_string();
    let processes: Vec<(String, String)> = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|pid| parent(&pid).map(|parent| (pid, parent)))
        .collect();
    let mut family = vec![own];
    while let Some(found) = processes
        .iter()
        .find(|(pid, parent)| family.contains(parent) && !family.contains(pid))
    {
        family.push(found.0.clone());
    }
    family.iter().skip(1).filter_map(|pid| ticks(pid)).sum()
}

fn parent(pid: &str) -> Option<String> {
    fields(pid)?.get(1).cloned()
}

fn ticks(pid: &str) -> Option<u64> {
    let fields = fields(pid)?;
    let time = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(time(11)? + time(12)?)
}

/// The fields of a process's state, from the state itself on.
fn fields(pid: &str) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split(' ').map(ToOwned::to_owned).collect())
}
