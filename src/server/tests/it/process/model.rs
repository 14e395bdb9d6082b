//! All of `/sync` under a random load, compared with what really happened.
//!
//! Users act at random, at one process or at two; clients with different filters fold the answers
//! of `/sync`, now at this process and now at that one, and fill gaps from `/messages`. Now and
//! then everybody stops. Then each client must know what the room's owner reads as the room's
//! history, every endpoint must say the same, nobody may have been shown what the room's history
//! visibility hides, and each message to a device must have arrived once.
//!
//! A run is given by its seed. `make soak` runs many, see `docs/testing.md`.

mod actor;
mod check;
mod fold;
mod history;
mod random;
mod seen;
mod syncer;
mod world;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::server::Server;
use actor::Actor;
use fold::Habits;
use random::Random;
use syncer::{Options, Syncer};
use world::{Http, OWNER, Plan, World};

/// The seeds of `make test`: one at the same time, one in turns.
const FIRST_SEED: u64 = 2;
const SEEDS: u64 = 2;

/// Clients of each user, each on a device of its own; beside them there is a device that always
/// syncs for the first time, and one that only brings the processes to the same point.
const CLIENTS: usize = 3;
const FRESH: usize = CLIENTS;
const HERALD: usize = CLIENTS + 1;
const DEVICES: usize = CLIENTS + 2;

const ENVIRONMENT: [(&str, &str); 4] = [
    ("CHANCERY_REGISTRATION", "open"),
    ("CHANCERY_RATE_LIMITS", "off"),
    ("CHANCERY_LOG_FILTER", "info,server::stack=warn"),
    // So little that rooms and users are dropped from memory and read again.
    ("CHANCERY_CACHE_TOTAL", "16 MiB"),
];

#[test]
fn clients_of_one_process_agree_with_the_rooms() {
    let server = Server::start(&ENVIRONMENT);
    run_seeds("one", &[server.clients()]);
    server.terminate();
}

#[test]
fn clients_of_two_processes_agree_with_the_rooms() {
    let one = Server::start(&ENVIRONMENT);
    let url = one.database_url();
    let mut environment = ENVIRONMENT.to_vec();
    environment.push(("CHANCERY_DATABASE_URL", &url));
    let other = Server::start(&environment);
    run_seeds("two", &[one.clients(), other.clients()]);
    other.terminate();
    one.terminate();
}

/// Runs the seeds of CI, or as many as the environment asks for.
fn run_seeds(name: &str, addresses: &[String]) {
    let number = |variable: &str| setting(variable).map(|text| text.parse::<u64>().unwrap());
    let first = number("CHANCERY_SOAK_SEED").unwrap_or(FIRST_SEED);
    let seconds = number("CHANCERY_SOAK_SECONDS").map(Duration::from_secs);
    let seeds =
        number("CHANCERY_SOAK_SEEDS").unwrap_or(if seconds.is_some() { u64::MAX } else { SEEDS });
    let started = Instant::now();
    for seed in first..first.saturating_add(seeds) {
        if seconds.is_some_and(|seconds| started.elapsed() > seconds) {
            return;
        }
        run(name, addresses, seed);
        eprintln!(
            "{name}: seed {seed} is done after {} s",
            started.elapsed().as_secs()
        );
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "says how long to run, which no configuration of the server does"
)]
fn setting(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

fn run(name: &str, addresses: &[String], seed: u64) {
    let mut random = Random::new(seed);
    let plan = Plan {
        seed,
        users: 4 + random.below(3),
        rooms: 2 + random.below(3),
        rounds: 5,
        actions: 8,
        is_concurrent: !seed.is_multiple_of(3),
    };
    let world = World::new(plan, name, addresses.to_vec(), DEVICES);
    let mut actors: Vec<_> = (0..plan.users)
        .map(|user| Actor::new(&world, user, random.fork()))
        .collect();
    for _ in 0..plan.rooms {
        actors[OWNER].create_room();
    }
    let mut syncers: Vec<_> = (0..plan.users)
        .flat_map(|user| (0..CLIENTS).map(move |device| (user, device)))
        .map(|(user, device)| {
            let options = options(&mut random, &world, device);
            Syncer::new(&world, (user, device), options, random.fork())
        })
        .collect();
    for syncer in &mut syncers {
        syncer.sync(0, false, false);
    }
    for _ in 0..plan.rounds {
        act(plan, &mut actors, &mut syncers);
        settle(&world, &mut syncers);
        compare(&world, &mut syncers, &mut random);
    }
}

/// Lets everybody act and sync.
fn act(plan: Plan, actors: &mut [Actor<'_>], syncers: &mut [Syncer<'_>]) {
    if plan.is_concurrent {
        std::thread::scope(|scope| {
            for actor in actors {
                scope.spawn(move || {
                    (0..plan.actions).for_each(|_| actor.act());
                    actor.stop_typing();
                });
            }
            for syncer in syncers {
                scope.spawn(move || (0..plan.actions / 2).for_each(|_| syncer.sync_some()));
            }
        });
        return;
    }
    for action in 0..plan.actions {
        for (number, actor) in actors.iter_mut().enumerate() {
            actor.act();
            let syncers = syncers.iter_mut().skip(number + action).step_by(3);
            syncers.for_each(Syncer::sync_some);
        }
    }
    actors.iter_mut().for_each(Actor::stop_typing);
}

/// Brings the processes and then the clients up to the same point.
fn settle(world: &World, syncers: &mut [Syncer<'_>]) {
    let mut http = Http::new(world);
    let owner = &world.users[OWNER];
    let token = &owner.devices[HERALD].token;
    // A process reads up to the token of another one before it answers.
    for from in 0..world.addresses.len() {
        let answer = http.get(from, token, "sync?timeout=0").ok();
        for to in 0..world.addresses.len() {
            let since = answer["next_batch"].as_str().unwrap();
            http.get(to, token, &format!("sync?timeout=0&since={since}"))
                .ok();
        }
    }
    for syncer in syncers {
        syncer.catch_up();
        let is_over = syncer.wait_for_typing_to_end();
        assert!(
            is_over,
            "{} shows somebody who does not type any more",
            syncer.name()
        );
    }
}

fn compare<'a>(world: &'a World, syncers: &mut [Syncer<'a>], random: &mut Random) {
    let histories = history::read(world, &mut Http::new(world));
    let mut fresh: Vec<_> = (0..world.users.len())
        .map(|user| {
            let options = Options {
                name: "fresh",
                filter: json!({}),
                ..Options::default()
            };
            let mut syncer = Syncer::new(world, (user, FRESH), options, random.fork());
            syncer.sync(0, false, false);
            syncer
        })
        .collect();
    check::check(world, &histories, syncers, &mut fresh);
}

/// What the clients of a user ask for, by device.
fn options(random: &mut Random, world: &World, device: usize) -> Options {
    let limit = 1 + random.below(10);
    let state_after = random.percent(30);
    let habits = Habits {
        state_after,
        is_forgetful: random.percent(50),
    };
    match device {
        0 => Options {
            name: "plain",
            filter: json!({}),
            habits,
            is_lazy: false,
        },
        1 => {
            let timeline = json!({ "limit": limit, "lazy_load_members": true });
            let room = json!({ "timeline": timeline, "state": { "lazy_load_members": true } });
            Options {
                name: "lazy",
                filter: json!({ "room": room }),
                habits,
                is_lazy: true,
            }
        }
        _ => {
            let timeline: Value = match random.below(4) {
                0 => json!({ "limit": limit, "not_types": ["m.room.topic", "m.room.message"] }),
                1 => json!({ "limit": limit, "not_senders": [random.pick(&world.users).user_id] }),
                _ => json!({ "limit": limit }),
            };
            let room = json!({ "timeline": timeline, "include_leave": random.percent(50) });
            Options {
                name: "limited",
                filter: json!({ "room": room }),
                habits,
                is_lazy: false,
            }
        }
    }
}
