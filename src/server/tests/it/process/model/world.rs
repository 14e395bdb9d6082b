//! What all parts of a run share: the processes, the users and their devices, the rooms, the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use super::super::client::{Answer, Connection};

/// The password of every user.
const PASSWORD: &str = "correct horse battery staple";

/// The user who creates all rooms and is always in them: what this one reads is the whole truth.
pub(super) const OWNER: usize = 0;

/// How a run goes; with the seed it says everything about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) users: usize,
    pub(super) rooms: usize,
    /// Between two of them everything is compared.
    pub(super) rounds: usize,
    /// Actions of each user in a round.
    pub(super) actions: usize,
    /// Whether users act and clients sync at the same time; otherwise a run repeats exactly.
    pub(super) is_concurrent: bool,
}

/// One user.
pub(super) struct User {
    pub(super) user_id: String,
    pub(super) devices: Vec<Device>,
}

/// A login of a user.
#[derive(Clone)]
pub(super) struct Device {
    pub(super) device_id: String,
    pub(super) token: String,
}

/// A message to a device that the server has accepted, by its number.
pub(super) type Sent = BTreeMap<(usize, usize), Vec<usize>>;

/// Everything that the parts of a run share.
pub(super) struct World {
    /// Where the processes of the server listen.
    pub(super) addresses: Vec<String>,
    pub(super) users: Vec<User>,
    pub(super) rooms: Mutex<Vec<String>>,
    /// Events whose ids were returned when they were sent, each with its room.
    pub(super) events: Mutex<Vec<(String, String)>>,
    /// By user and device.
    pub(super) to_device: Mutex<Sent>,
    /// Who uploaded new device keys in this round.
    pub(super) new_keys: Mutex<BTreeSet<usize>>,
    /// Who has ever forgotten which room.
    pub(super) forgotten: Mutex<BTreeSet<(usize, String)>>,
    pub(super) log: Log,
    next_number: AtomicUsize,
}

impl World {
    /// Registers the users and logs them in on so many devices each.
    pub(super) fn new(plan: Plan, name: &str, addresses: Vec<String>, devices: usize) -> Self {
        let log = Log::new(format!("{name} {plan:?}"));
        let mut world = Self {
            addresses,
            users: Vec::new(),
            rooms: Mutex::default(),
            events: Mutex::default(),
            to_device: Mutex::default(),
            new_keys: Mutex::default(),
            forgotten: Mutex::default(),
            log,
            next_number: AtomicUsize::new(1),
        };
        let mut http = Http::new(&world);
        for number in 0..plan.users {
            let user = Self::register(
                &mut http,
                &format!("{name}-{}-u{number}", plan.seed),
                devices,
            );
            world.users.push(user);
        }
        world
    }

    fn register(http: &mut Http, localpart: &str, devices: usize) -> User {
        let text = |answer: &Value, field: &str| answer[field].as_str().unwrap().to_owned();
        let auth = json!({ "type": "m.login.dummy" });
        let body = json!({
            "username": localpart, "password": PASSWORD, "auth": auth, "inhibit_login": true,
        });
        let answer = http.call(0, "", "POST", "register", &body).ok();
        let user_id = text(&answer, "user_id");
        let login = |number: usize| {
            let body = json!({
                "type": "m.login.password", "password": PASSWORD, "device_id": format!("D{number}"),
                "identifier": { "type": "m.id.user", "user": user_id },
            });
            let answer = http.call(0, "", "POST", "login", &body).ok();
            Device {
                device_id: text(&answer, "device_id"),
                token: text(&answer, "access_token"),
            }
        };
        let devices = (0..devices).map(login).collect();
        User { user_id, devices }
    }

    /// A number that nothing else of this run has.
    pub(super) fn number(&self) -> usize {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn room_ids(&self) -> Vec<String> {
        self.rooms.lock().unwrap().clone()
    }

    pub(super) fn user_ids(&self) -> impl Iterator<Item = &str> {
        self.users.iter().map(|user| &*user.user_id)
    }

    pub(super) fn has_forgotten(&self, user: usize, room_id: &str) -> bool {
        let forgotten = self.forgotten.lock().unwrap();
        forgotten.contains(&(user, room_id.to_owned()))
    }
}

/// Connections to all processes; each thread has its own.
pub(super) struct Http {
    addresses: Vec<String>,
    connections: Vec<Option<Connection>>,
}

impl Http {
    pub(super) fn new(world: &World) -> Self {
        Self {
            addresses: world.addresses.clone(),
            connections: world.addresses.iter().map(|_| None).collect(),
        }
    }

    /// Sends a request to one of the processes; no answer may be a failure of the server.
    pub(super) fn call(
        &mut self,
        process: usize,
        token: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Answer {
        let address = &self.addresses[process];
        let connection = &mut self.connections[process];
        let connection = connection.get_or_insert_with(|| Connection::open(address).unwrap());
        let answer = connection.call(method, path, token, body);
        let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert!(
            answer.status < 500,
            "{method} {path}: {} {}",
            answer.status,
            answer.body
        );
        answer
    }

    pub(super) fn get(&mut self, process: usize, token: &str, path: &str) -> Answer {
        self.call(process, token, "GET", path, &Value::Null)
    }
}

/// What was done, in the order in which it was answered; written out when the run fails.
pub(super) struct Log {
    title: String,
    lines: Mutex<Vec<String>>,
}

impl Log {
    fn new(title: String) -> Self {
        Self {
            title,
            lines: Mutex::default(),
        }
    }

    pub(super) fn add(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let name = self
            .title
            .replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.log"));
        let lines = self
            .lines
            .get_mut()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let text = format!("{}\n{}\n", self.title, lines.join("\n"));
        let written = fs::write(&file, &text);
        eprintln!(
            "{}: all actions are in {} ({written:?})",
            self.title,
            file.display()
        );
        for line in &lines[lines.len().saturating_sub(40)..] {
            let end = line
                .char_indices()
                .nth(300)
                .map_or(line.len(), |(end, _)| end);
            eprintln!("{}", &line[..end]);
        }
    }
}

/// A part of a path, percent-encoded.
pub(super) fn encoded(text: &str) -> String {
    crate::app::encoded(text)
}
