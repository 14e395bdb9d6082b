//! What other servers are told of the devices and cross-signing keys of this server's users.
//!
//! Each change of a user's devices is an update with a number of its own, which names the one before. Of
//! the updates that wait for a server only the last of each user is kept: the server finds that it has
//! missed some, and reads the list anew. So does one that has had no updates of the user so far.
//!
//! Spec: server-server, "Device Management", "End-to-End Encryption".

use std::collections::{BTreeMap, BTreeSet};

use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId, encryption::KeyUsage};
use serde_json::{Map, Value, json};
use storage::{
    Connection, Error,
    cross_signing::{self, MasterKeySignature},
    deliveries::NewEdu,
    memberships,
    published_device_lists::{self, ChangedDevice, PublishedList},
    stream::StateDelta,
};
use types::{RoomNid, StreamPosition};

use crate::{Delivery, edus, room_servers::RoomServers};

/// The users of this server whose devices may be news to other servers.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// Each with the rooms that the user has joined in this part of the stream.
    users: BTreeMap<OwnedUserId, BTreeSet<RoomNid>>,
    /// Those of them whose devices or keys have changed.
    changed: BTreeSet<OwnedUserId>,
    /// The rooms that each is in.
    rooms: BTreeMap<OwnedUserId, BTreeSet<RoomNid>>,
    /// The rooms whose members became known.
    completed: BTreeSet<RoomNid>,
    /// Those of them that each user is in.
    revealed: BTreeMap<OwnedUserId, BTreeSet<RoomNid>>,
    /// The servers that were known to be in these rooms before.
    known: BTreeSet<(RoomNid, OwnedServerName)>,
}

/// The servers that share a room with a user.
#[derive(Debug)]
pub(crate) struct Recipients {
    user_id: OwnedUserId,
    /// All of them if the user's devices or keys may have changed, the new ones if the user has joined a room.
    all: BTreeSet<OwnedServerName>,
    /// Those that did not before.
    new: BTreeSet<OwnedServerName>,
    /// Those that are known to since the members of a room are. They can know nothing that is out of date
    /// unless something was published before.
    revealed: BTreeSet<OwnedServerName>,
    /// Those that did for a while, when it was not known.
    missed: BTreeSet<OwnedServerName>,
}

impl Recipients {
    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.revealed.is_empty() && self.missed.is_empty()
    }

    /// The servers to which what was published last is news.
    fn of_published(&self, was_published: bool) -> BTreeSet<OwnedServerName> {
        let revealed = self.revealed.iter().filter(|_| was_published);
        let servers = self.new.iter().chain(&self.missed).chain(revealed);
        servers.cloned().collect()
    }

    /// The servers to which a change is news.
    fn of_change(&self, was_published: bool) -> BTreeSet<OwnedServerName> {
        let mut servers = self.of_published(was_published);
        servers.extend(self.all.iter().cloned());
        servers
    }
}

impl Candidates {
    /// Adds one whose devices or keys have changed.
    pub(crate) fn add(&mut self, user_id: OwnedUserId) {
        self.users.entry(user_id.clone()).or_default();
        self.changed.insert(user_id);
    }

    /// Adds those who have joined a room.
    pub(crate) fn add_joined(&mut self, delta: &StateDelta, is_local: impl Fn(&UserId) -> bool) {
        for change in delta.changes.iter().filter(|change| change.is_join()) {
            let member = change.event().and_then(|pdu| pdu.state_key());
            let user_id = member.and_then(|id| OwnedUserId::try_from(id).ok());
            if let Some(user_id) = user_id.filter(|user_id| is_local(user_id)) {
                self.users
                    .entry(user_id)
                    .or_default()
                    .insert(delta.room_nid);
            }
        }
    }

    /// Adds those who are in a room whose members became known.
    pub(crate) fn add_completed(&mut self, room_nid: RoomNid) {
        self.completed.insert(room_nid);
    }

    /// Notes which servers are known to be in the rooms whose members become known.
    pub(crate) fn note_known(&mut self, servers: &RoomServers) {
        for room_nid in &self.completed {
            let known = servers.servers(*room_nid);
            self.known.extend(known.map(|server| (*room_nid, server)));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.completed.is_empty()
    }

    /// Reads the rooms that they are in, and returns them.
    pub(crate) async fn load_rooms(
        &mut self,
        db: &mut Connection,
        own_name: &ServerName,
    ) -> Result<BTreeSet<RoomNid>, Error> {
        for room_nid in &self.completed {
            let joined = memberships::joined_users_of_server(&mut *db, *room_nid, own_name).await?;
            for user_id in joined {
                self.revealed.entry(user_id).or_default().insert(*room_nid);
            }
        }
        let users = self.users.keys().chain(self.revealed.keys());
        let users: BTreeSet<&OwnedUserId> = users.collect();
        if !users.is_empty() {
            self.rooms = memberships::joined_rooms_by_user(db, users).await?;
        }
        Ok(self.rooms.values().flatten().copied().collect())
    }

    /// Those who share a room with another server, and with which.
    pub(crate) fn recipients(
        mut self,
        servers: &RoomServers,
        until: StreamPosition,
        is_allowed: impl Fn(&OwnedServerName) -> bool,
    ) -> Vec<Recipients> {
        let users = self.users.keys().chain(self.revealed.keys());
        let users: BTreeSet<OwnedUserId> = users.cloned().collect();
        let recipients = users
            .into_iter()
            .map(|user_id| self.recipients_for(user_id, servers, until, &is_allowed));
        recipients.filter(|to| !to.is_empty()).collect()
    }

    fn recipients_for(
        &mut self,
        user_id: OwnedUserId,
        servers: &RoomServers,
        until: StreamPosition,
        is_allowed: impl Fn(&OwnedServerName) -> bool,
    ) -> Recipients {
        let servers_of = |rooms: &mut dyn Iterator<Item = RoomNid>| -> BTreeSet<OwnedServerName> {
            let servers = rooms.flat_map(|room_nid| servers.servers_at(room_nid, until));
            servers.filter(&is_allowed).collect()
        };
        let joined = self.users.remove(&user_id).unwrap_or_default();
        let is_changed = self.changed.contains(&user_id);
        let completed = self.revealed.remove(&user_id).unwrap_or_default();
        let rooms = self.rooms.remove(&user_id).unwrap_or_default();
        let (joined, stayed): (Vec<RoomNid>, Vec<RoomNid>) = rooms
            .into_iter()
            .partition(|room_nid| joined.contains(room_nid));
        let stayed = stayed.into_iter();
        let before = servers_of(&mut stayed.filter(|room_nid| !completed.contains(room_nid)));
        // Servers that are only said to be in a room are told when its members are known.
        let new = joined.iter();
        let new = new.flat_map(|room_nid| servers.servers(*room_nid));
        let mut new: BTreeSet<OwnedServerName> = new.filter(&is_allowed).collect();
        let missed = completed.iter();
        let missed = missed.flat_map(|room_nid| servers.missed(*room_nid).cloned());
        let missed = missed.filter(&is_allowed).collect();
        let known = &self.known;
        let revealed = completed.iter().flat_map(|room_nid| {
            let servers = servers.servers(*room_nid);
            servers.map(|server_name| (*room_nid, server_name))
        });
        let revealed = revealed.filter(|server| !known.contains(server));
        let revealed = revealed.map(|(_, server_name)| server_name);
        let mut revealed: BTreeSet<OwnedServerName> = revealed.filter(&is_allowed).collect();
        let all = if is_changed {
            let all = before.iter().chain(&new).chain(&revealed);
            all.cloned().collect()
        } else {
            new.clone()
        };
        new.retain(|server_name| !before.contains(server_name));
        revealed.retain(|server_name| !before.contains(server_name));
        Recipients {
            user_id,
            all,
            new,
            revealed,
            missed,
        }
    }
}

impl Delivery {
    /// Finds out what of the users' devices and keys is news to other servers, and what those are to
    /// be sent. To be called in the transaction that puts it into their queues.
    pub(crate) async fn publish_device_lists(
        &self,
        db: &mut Connection,
        recipients: &[Recipients],
    ) -> Result<Vec<NewEdu>, Error> {
        if recipients.is_empty() {
            return Ok(Vec::new());
        }
        let users = recipients.iter().map(|to| to.user_id.clone());
        let users: Vec<OwnedUserId> = users.collect();
        let published = published_device_lists::find(&mut *db, &users).await?;
        let has_news = |to: &&Recipients| {
            let was_published = published.contains_key(&to.user_id);
            !to.of_change(was_published).is_empty()
        };
        let recipients: Vec<&Recipients> = recipients.iter().filter(has_news).collect();
        let users: Vec<OwnedUserId> = recipients.iter().map(|to| to.user_id.clone()).collect();
        let names = self.0.settings.send_device_names;
        let devices = published_device_lists::changed_devices(&mut *db, &users, names).await?;
        let mut keys = signing_keys(&mut *db, &users).await?;
        let mut lists = published.clone();
        if !devices.is_empty() {
            let now = published_device_lists::now_ms(&mut *db).await?;
            for device in &devices {
                let list = lists.entry(device.user_id.clone()).or_default();
                number(list, device, now);
            }
        }
        let mut edus = Vec::new();
        for to in recipients {
            let user_id = &to.user_id;
            let was_published = published.contains_key(user_id);
            let list = lists.entry(user_id.clone()).or_default();
            let known = published.get(user_id).cloned().unwrap_or_default();
            let changed = to.of_change(was_published);
            let servers = if list.stream_id == known.stream_id {
                &to.of_published(was_published)
            } else {
                &changed
            };
            if !list.last_update.is_empty() {
                let update = |to: &OwnedServerName| edus::device_list_update(to, user_id, list);
                edus.extend(servers.iter().map(update));
            }
            let keys = keys.remove(user_id).unwrap_or_default();
            if !keys.is_empty() && keys != known.signing_keys {
                list.signing_keys = keys;
                let update = |to: &OwnedServerName| edus::signing_key_update(to, user_id, list);
                edus.extend(changed.iter().map(update));
            }
        }
        let none = PublishedList::default();
        lists.retain(|user_id, list| published.get(user_id).unwrap_or(&none) != list);
        if !lists.is_empty() {
            published_device_lists::replace(db, &lists, &devices).await?;
        }
        Ok(edus)
    }
}

/// Gives the change of a device a number: of the time, so that the numbers grow even where the database
/// was restored from a backup.
fn number(list: &mut PublishedList, device: &ChangedDevice, now_ms: i64) {
    let previous = list.stream_id;
    list.stream_id = now_ms.max(previous + 1);
    let mut content = Map::new();
    let mut set = |name: &str, value: Value| content.insert(name.to_owned(), value);
    set("user_id", json!(device.user_id));
    set("device_id", json!(device.device_id));
    set("stream_id", json!(list.stream_id));
    if previous > 0 {
        set("prev_id", json!([previous]));
    }
    match &device.current {
        Some(current) => {
            if let Some(name) = &current.display_name {
                set("device_display_name", json!(name));
            }
            // What is stored is JSON.
            let keys = current.keys.as_deref();
            if let Some(keys) = keys.and_then(|keys| serde_json::from_str(keys).ok()) {
                set("keys", keys);
            }
        }
        None => {
            set("deleted", json!(true));
        }
    }
    list.last_update = Value::Object(content).to_string();
}

/// The cross-signing keys of users that everybody may see, as they are sent to other servers.
async fn signing_keys(
    db: &mut Connection,
    users: &[OwnedUserId],
) -> Result<BTreeMap<OwnedUserId, String>, Error> {
    let keys = cross_signing::of_users(&mut *db, users).await?;
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let signatures = cross_signing::signatures_by_owners(db, users).await?;
    let mut contents: BTreeMap<OwnedUserId, Map<String, Value>> = BTreeMap::new();
    for key in keys {
        let name = match key.usage {
            KeyUsage::Master => "master_key",
            KeyUsage::SelfSigning => "self_signing_key",
            _ => continue,
        };
        let mut json: Map<String, Value> =
            serde_json::from_str(&key.key).map_err(|error| Error::Corrupt(error.to_string()))?;
        let made = signatures
            .iter()
            .filter(|made| made.user_id == key.user_id && made.public_key == key.public_key);
        for made in made {
            add_signature(&mut json, made);
        }
        let content = contents.entry(key.user_id.clone()).or_default();
        content.insert("user_id".to_owned(), json!(key.user_id));
        content.insert(name.to_owned(), Value::Object(json));
    }
    let contents = contents.into_iter();
    Ok(contents
        .map(|(user_id, content)| (user_id, Value::Object(content).to_string()))
        .collect())
}

/// Adds a signature to a key.
fn add_signature(key: &mut Map<String, Value>, made: &MasterKeySignature) {
    let object = || Value::Object(Map::new());
    let by_user = key.entry("signatures").or_insert_with(object);
    let by_user = by_user.as_object_mut();
    let by_key = by_user.map(|by_user| by_user.entry(made.signer.as_str()).or_insert_with(object));
    if let Some(by_key) = by_key.and_then(Value::as_object_mut) {
        by_key.insert(made.signer_key.clone(), json!(made.signature));
    }
}
