//! Killed under load: nothing that was acknowledged is lost, and nothing is there twice.

mod load;

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::Ordering,
};

use rustix::process::{Pid, Signal, kill_process};

use super::server::Server;
use load::Load;

const SENDERS: usize = 8;
const ENVIRONMENT: [(&str, &str); 3] = [
    ("CHANCERY_REGISTRATION", "open"),
    ("CHANCERY_RATE_LIMITS", "off"),
    ("CHANCERY_LOG_FILTER", "info,server::stack=warn"),
];

#[test]
fn a_server_killed_fifty_times_loses_no_acknowledged_message() {
    let mut server = Server::start(&ENVIRONMENT);
    let mut load = Load::new(&server.clients(), SENDERS);
    for round in 0..50 {
        let address = server.clients();
        // A different moment of the batch each time.
        let enough = 20 + round * 7 % 31;
        let data = load.talk(&address, |so_far| {
            while so_far.acknowledged.load(Ordering::Relaxed) < enough {
                std::thread::yield_now();
            }
            server.kill()
        });
        server = Server::start_on(data, &ENVIRONMENT);
        for sender in &load.senders {
            sender.repeat(&server.clients(), &load.room_id);
        }
    }
    settle(&mut load, &server);
    check(&load, &server);
    server.terminate();
}

#[test]
fn while_the_database_is_away_clients_are_asked_to_come_back() {
    let server = Server::start(&ENVIRONMENT);
    let address = server.clients();
    let mut load = Load::new(&address, SENDERS);
    for _ in 0..3 {
        load.talk(&address, |so_far| {
            let wait_for = |enough: usize| {
                let acknowledged = so_far.acknowledged.load(Ordering::Relaxed) + enough;
                while so_far.acknowledged.load(Ordering::Relaxed) < acknowledged {
                    std::thread::yield_now();
                }
            };
            wait_for(50);
            let postmaster = server.postmaster();
            kill(postmaster);
            server.until(|server| server.postmaster() != postmaster);
            wait_for(50);
        });
    }
    settle(&mut load, &server);
    check(&load, &server);
    server.terminate();
}

/// Kills PostgreSQL as a power cut would; its other processes follow.
fn kill(postmaster: u32) {
    let pid = Pid::from_raw(postmaster.cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// Lets every sender send what it was still waiting for.
fn settle(load: &mut Load, server: &Server) {
    let senders = load.senders.len();
    load.talk(&server.clients(), |so_far| {
        while so_far.acknowledged.load(Ordering::Relaxed) < 10 * senders {
            std::thread::yield_now();
        }
    });
}

/// Everything acknowledged is there under the id that was returned, and nothing is there twice.
fn check(load: &Load, server: &Server) {
    let history = load.history(&server.clients());
    let texts: HashSet<_> = history.iter().map(|(text, _)| text).collect();
    assert_eq!(texts.len(), history.len(), "no message is there twice");
    let found: HashMap<_, _> = history.iter().cloned().collect();
    for sender in &load.senders {
        for (transaction, event_id) in &sender.sent {
            assert_eq!(found.get(transaction), Some(event_id), "{transaction}");
        }
    }
}
