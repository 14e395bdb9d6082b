//! Presence on a clock that tests move.

use std::time::Duration;

use ruma::{DeviceId, device_id, user_id};
use storage::cluster::PresenceState::{self, Offline, Online, Unavailable};

use super::{super::user_presence::RemotePresence, *};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const START: i64 = 1_700_000_000_000;
const ROOM: RoomNid = RoomNid(1);
/// The number of another process.
const PEER: i64 = 7;

/// A process of which the clock stands still until it is moved.
struct Process {
    store: PresenceStore,
    now: i64,
}

impl Process {
    fn new() -> Self {
        Self {
            store: PresenceStore::new(100, START),
            now: START,
        }
    }

    fn update(&mut self, update: impl FnOnce(&mut UserPresence, i64)) {
        let now = self.now;
        self.store
            .update(alice(), Origin::Here, now, |user| update(user, now));
        let rooms = [(ROOM, EphemeralPosition::default())];
        self.store.resolve(alice(), rooms.into());
    }

    fn sync(&mut self, device: &DeviceId, state: PresenceState) {
        self.update(|user, now| user.device_requests(device, state, true, now));
    }

    fn end_sync(&mut self, device: &DeviceId) {
        self.update(|user, now| user.sync_ended(device, now));
    }

    fn state(&self) -> PresenceState {
        self.store.get(alice()).expect("she is known").shown.state
    }

    /// Runs the timers as they are due for some time; collects what is passed on.
    fn run(&mut self, time: i64) -> Vec<Flush> {
        let (until, mut flushes) = (self.now + time, Vec::new());
        loop {
            let due = self.store.next_due().max(self.now);
            if due > until {
                self.now = until;
                return flushes;
            }
            self.now = due;
            self.store.run_timers(self.now);
            flushes.push(self.store.flush(self.now));
        }
    }

    /// How often clients and other servers are told of her in some time.
    fn told(&mut self, time: i64) -> (usize, usize) {
        let flushes = self.run(time);
        let changed = flushes.iter().map(|flush| flush.changed.len()).sum();
        (
            changed,
            flushes.iter().map(|flush| flush.federated.len()).sum(),
        )
    }

    /// Hears what another process says of her.
    fn hear(&mut self, state: PresenceState, last_active: i64) {
        let said = SharedPresence {
            user_id: alice().to_owned(),
            state,
            currently_active: false,
            last_active: Some(last_active),
            status_msg: None,
            status_set: 0,
            is_remote: false,
        };
        self.store.heard(PEER, &[said], self.now);
        self.store
            .resolve(alice(), [(ROOM, EphemeralPosition::default())].into());
    }
}

fn alice() -> &'static UserId {
    user_id!("@alice:test.localhost")
}

fn phone() -> &'static DeviceId {
    device_id!("PHONE")
}

fn laptop() -> &'static DeviceId {
    device_id!("LAPTOP")
}

fn remote(state: PresenceState) -> RemotePresence {
    RemotePresence {
        state,
        last_active_ago: Duration::from_secs(10),
        currently_active: state == Online,
        status_msg: Some("away".to_owned()),
    }
}

#[test]
fn user_is_online_while_a_device_syncs_and_a_little_longer() {
    let mut process = Process::new();
    process.sync(phone(), Online);
    assert_eq!(process.state(), Online);
    assert_eq!(process.told(MINUTE), (1, 1));
    process.end_sync(phone());
    assert_eq!(process.told(29 * SECOND), (0, 0));
    assert_eq!(process.state(), Online);
    // The next request begins in time.
    process.sync(phone(), Online);
    assert_eq!(process.told(2 * MINUTE), (0, 0));
    process.end_sync(phone());
    assert_eq!(process.told(30 * SECOND), (1, 1));
    assert_eq!(process.state(), Offline);
}

#[test]
fn user_without_activity_is_idle_until_there_is_some() {
    let mut process = Process::new();
    process.sync(phone(), Online);
    process.run(4 * MINUTE);
    process.update(|user, now| user.activity(phone(), now));
    process.run(4 * MINUTE);
    assert_eq!(process.state(), Online);
    assert_eq!(process.told(MINUTE), (1, 1));
    assert_eq!(process.state(), Unavailable);
    let ago = |process: &Process| {
        process
            .store
            .get(alice())
            .unwrap()
            .last_active_ago(process.now)
    };
    assert_eq!(ago(&process), Some(Duration::from_mins(5)));
    // Syncing is no activity.
    process.sync(phone(), Online);
    assert_eq!(process.state(), Unavailable);
    process.update(|user, now| user.activity(phone(), now));
    assert_eq!(process.state(), Online);
    assert_eq!(ago(&process), Some(Duration::ZERO));
}

#[test]
fn waiting_client_has_no_timer_once_its_user_is_idle() {
    let mut process = Process::new();
    process.sync(phone(), Online);
    process.run(10 * MINUTE);
    assert!(process.store.timers.is_empty());
}

#[test]
fn most_present_device_counts() {
    let mut process = Process::new();
    process.sync(phone(), Unavailable);
    assert_eq!(process.state(), Unavailable);
    process.sync(laptop(), Online);
    assert_eq!(process.state(), Online);
    process.sync(laptop(), Unavailable);
    assert_eq!(process.state(), Unavailable);
    process.update(|user, now| user.device_requests(phone(), Offline, false, now));
    process.update(|user, now| user.device_requests(laptop(), Offline, false, now));
    assert_eq!(process.state(), Offline);
}

#[test]
fn activity_on_a_hidden_device_shows_nothing() {
    let mut process = Process::new();
    process.update(|user, now| user.activity(phone(), now));
    assert_eq!(process.state(), Offline);
    assert_eq!(
        process.store.get(alice()).unwrap().last_active_ago(START),
        None
    );
}

#[test]
fn status_is_kept_while_the_user_is_offline() {
    let mut process = Process::new();
    process.update(|user, now| {
        user.device_requests(phone(), Online, false, now);
        user.set_status(Some("at lunch".to_owned()), now);
    });
    process.run(MINUTE);
    let shown = process.store.get(alice()).unwrap().shown.clone();
    assert_eq!(shown.state, Offline);
    assert_eq!(shown.status_msg.as_deref(), Some("at lunch"));
}

#[test]
fn what_changes_too_often_is_told_in_the_end() {
    let mut process = Process::new();
    let mut told = 0;
    for round in 0..300 {
        let state = if round % 2 == 0 { Online } else { Unavailable };
        process.sync(phone(), state);
        process.end_sync(phone());
        told += process.told(100).0;
    }
    // Ten changes at once are passed on in the first two seconds, then one in five seconds.
    assert!((2..=9).contains(&told), "{told}");
    process.run(10 * SECOND);
    assert_eq!(process.state(), Unavailable);
}

#[test]
fn changes_are_collected_for_a_second_but_for_the_first() {
    let mut process = Process::new();
    process.sync(phone(), Online);
    assert_eq!(process.told(0), (1, 1));
    process.sync(phone(), Unavailable);
    process.sync(phone(), Online);
    process.sync(phone(), Unavailable);
    assert_eq!(process.told(999), (0, 0));
    assert_eq!(process.told(1), (1, 1));
}

#[test]
fn online_users_are_repeated_to_other_servers() {
    let mut process = Process::new();
    process.sync(phone(), Online);
    process.run(10 * MINUTE);
    let mut longest = 0;
    for _ in 0..4 {
        let start = process.now;
        while process.told(MINUTE) == (0, 0) {}
        longest = longest.max(process.now - start);
    }
    assert!(longest <= 26 * MINUTE, "{longest}");
    process.update(|user, now| user.device_requests(phone(), Offline, false, now));
    process.end_sync(phone());
    process.run(MINUTE);
    assert_eq!(process.told(60 * MINUTE), (0, 0));
}

#[test]
fn user_of_a_silent_server_goes_offline() {
    let mut process = Process::new();
    process.update(|user, now| user.remote_says(remote(Online), now));
    assert_eq!(process.state(), Online);
    process.run(20 * MINUTE);
    // The server repeats itself.
    process.update(|user, now| user.remote_says(remote(Online), now));
    assert_eq!(process.told(29 * MINUTE), (0, 0));
    // Other servers hear of the user from that server.
    assert_eq!(process.told(MINUTE), (1, 0));
    assert_eq!(process.state(), Offline);
}

#[test]
fn users_of_other_servers_who_leave_all_rooms_are_forgotten() {
    let mut process = Process::new();
    process.update(|user, now| user.remote_says(remote(Online), now));
    process.run(SECOND);
    assert_eq!(process.store.set_joined(alice(), ROOM, None), Some(false));
    assert!(!process.store.contains(alice()));
    assert!(process.store.timers.is_empty() && process.store.changes.oldest().next().is_none());
}

#[test]
fn devices_of_other_processes_count_until_these_say_otherwise() {
    let mut process = Process::new();
    process.hear(Online, START);
    assert_eq!(process.state(), Online);
    // The other process tells other servers.
    assert_eq!(process.told(SECOND), (1, 0));
    process.sync(phone(), Unavailable);
    assert_eq!(process.state(), Online);
    process.hear(Offline, START);
    assert_eq!(process.state(), Unavailable);
}

#[test]
fn devices_of_a_process_that_is_gone_go_offline() {
    let mut process = Process::new();
    process.hear(Online, START);
    process.run(119 * SECOND);
    // A sign of life.
    process.store.heard(PEER, &[], process.now);
    process.run(119 * SECOND);
    assert_eq!(process.state(), Online);
    process.run(SECOND);
    assert_eq!(process.state(), Offline);
}

#[test]
fn what_other_processes_do_not_repeat_is_forgotten() {
    let mut process = Process::new();
    process.hear(Online, START);
    process.store.begin_resync(process.now);
    process.hear(Online, START);
    process.run(MINUTE);
    assert_eq!(process.state(), Online);
    process.store.begin_resync(process.now);
    process.run(MINUTE);
    assert_eq!(process.state(), Offline);
}

#[test]
fn other_processes_are_told_of_changes_and_once_a_minute_of_activity() {
    let mut process = Process::new();
    process.sync(phone(), Online);
    let mut announced = Vec::new();
    for _ in 0..120 {
        announced.extend(
            process
                .run(SECOND)
                .into_iter()
                .flat_map(|flush| flush.announced),
        );
        process.update(|user, now| user.activity(phone(), now));
    }
    assert_eq!(announced.len(), 2);
    assert!(announced.iter().all(|said| said.state == Online));
    process.end_sync(phone());
    let heartbeats = process.run(30 * SECOND);
    let announced: Vec<_> = heartbeats
        .into_iter()
        .flat_map(|flush| flush.announced)
        .collect();
    assert_eq!(announced.last().map(|said| said.state), Some(Offline));
    assert!(process.store.all_shared().is_empty());
}

#[test]
fn process_with_devices_says_that_it_is_there() {
    let mut process = Process::new();
    let heartbeats =
        |flushes: Vec<Flush>| flushes.iter().filter(|flush| flush.is_heartbeat).count();
    assert_eq!(heartbeats(process.run(5 * MINUTE)), 0);
    process.sync(phone(), Online);
    process.run(SECOND);
    assert_eq!(heartbeats(process.run(5 * MINUTE)), 10);
}

#[test]
fn users_who_are_offline_for_longest_are_forgotten_first() {
    let mut process = Process::new();
    process.store = PresenceStore::new(10, START);
    let user = |number: i64| {
        OwnedUserId::try_from(format!("@u{number}:test.localhost")).expect("a user id")
    };
    let set = |process: &mut Process, number: i64, state| {
        let now = process.now;
        process
            .store
            .update(&user(number), Origin::Here, now, |user| {
                user.device_requests(phone(), state, false, now);
                user.set_status(Some("x".to_owned()), now);
            });
        process.store.resolve(&user(number), Rooms::default());
        process
            .store
            .record(&user(number), EphemeralPosition(number));
    };
    for number in 0..10 {
        set(
            &mut process,
            number,
            if number == 0 { Online } else { Offline },
        );
    }
    for number in 10..15 {
        set(&mut process, number, Online);
    }
    // Online users stay.
    assert!(process.store.contains(&user(0)));
    assert!(!process.store.contains(&user(1)));
    assert!(process.store.contains(&user(9)));
    for number in 15..200 {
        set(&mut process, number, Online);
    }
    assert_eq!(process.store.users.len(), 80);
}
