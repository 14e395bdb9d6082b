//! Backups of room keys.

use std::collections::BTreeMap;

use e2ee::{BackupSize, BackupUpdate, KeyBackup, KeySelection, RoomKeys};
use ruma::{
    RoomId, UserId,
    api::client::backup::{
        add_backup_keys, add_backup_keys_for_room, add_backup_keys_for_session,
        create_backup_version, delete_backup_keys, delete_backup_keys_for_room,
        delete_backup_keys_for_session, delete_backup_version, get_backup_info, get_backup_keys,
        get_backup_keys_for_room, get_backup_keys_for_session, get_latest_backup_info,
        update_backup_version,
    },
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{App, Error, Matrix, Result, json::RawJson};

#[derive(Serialize)]
struct Backup<'a> {
    algorithm: &'a str,
    auth_data: &'a RawValue,
    count: i64,
    etag: String,
    version: String,
}

#[derive(Serialize)]
struct Size {
    count: i64,
    etag: String,
}

#[derive(Default, Serialize)]
struct Room<'a> {
    sessions: BTreeMap<&'a str, &'a RawValue>,
}

#[derive(Serialize)]
struct Rooms<'a> {
    rooms: BTreeMap<&'a str, Room<'a>>,
}

/// Makes a backup.
pub(crate) async fn create(
    app: App,
    call: Matrix<create_backup_version::v3::Request>,
) -> Result<create_backup_version::v3::Response> {
    let backup = BackupUpdate::parse(&call.request.algorithm)?;
    let version = app
        .keys
        .create_backup(call.caller.user_id(), &backup)
        .await?;
    Ok(create_backup_version::v3::Response::new(
        version.to_string(),
    ))
}

/// Returns the current backup.
pub(crate) async fn current(
    app: App,
    call: Matrix<get_latest_backup_info::v3::Request>,
) -> Result<RawJson> {
    describe(&app.keys.backup(call.caller.user_id(), None).await?)
}

/// Returns one backup.
pub(crate) async fn one(app: App, call: Matrix<get_backup_info::v3::Request>) -> Result<RawJson> {
    let version = Some(&*call.request.version);
    describe(&app.keys.backup(call.caller.user_id(), version).await?)
}

/// Replaces the `auth_data` of a backup.
pub(crate) async fn update(
    app: App,
    call: Matrix<update_backup_version::v3::Request>,
) -> Result<update_backup_version::v3::Response> {
    let update = BackupUpdate::parse(&call.request.algorithm)?;
    let (user_id, version) = (call.caller.user_id(), &*call.request.version);
    app.keys.update_backup(user_id, version, &update).await?;
    Ok(update_backup_version::v3::Response::new())
}

/// Deletes a backup.
pub(crate) async fn delete(
    app: App,
    call: Matrix<delete_backup_version::v3::Request>,
) -> Result<delete_backup_version::v3::Response> {
    let version = &*call.request.version;
    app.keys
        .delete_backup(call.caller.user_id(), version)
        .await?;
    Ok(delete_backup_version::v3::Response::new())
}

/// Adds keys of any rooms.
pub(crate) async fn add(app: App, call: Matrix<add_backup_keys::v3::Request>) -> Result<RawJson> {
    let rooms = call.request.rooms.into_iter();
    let keys = rooms.map(|(room_id, room)| (room_id, room.sessions));
    let user_id = call.caller.user_id();
    back_up(&app, user_id, &call.request.version, keys.collect()).await
}

/// Adds keys of one room.
pub(crate) async fn add_for_room(
    app: App,
    call: Matrix<add_backup_keys_for_room::v3::Request>,
) -> Result<RawJson> {
    let request = call.request;
    let keys = RoomKeys::from([(request.room_id, request.sessions)]);
    back_up(&app, call.caller.user_id(), &request.version, keys).await
}

/// Adds the key of one session.
pub(crate) async fn add_for_session(
    app: App,
    call: Matrix<add_backup_keys_for_session::v3::Request>,
) -> Result<RawJson> {
    let request = call.request;
    let sessions = BTreeMap::from([(request.session_id, request.session_data)]);
    let keys = RoomKeys::from([(request.room_id, sessions)]);
    back_up(&app, call.caller.user_id(), &request.version, keys).await
}

/// Returns all keys of a backup.
pub(crate) async fn all_keys(
    app: App,
    call: Matrix<get_backup_keys::v3::Request>,
) -> Result<RawJson> {
    let version = &*call.request.version;
    let keys = app
        .keys
        .backed_up(call.caller.user_id(), version, KeySelection::default())
        .await?;
    let mut rooms: BTreeMap<&str, Room<'_>> = BTreeMap::new();
    for key in &keys {
        let room = rooms.entry(&key.room_id).or_default();
        room.sessions.insert(&key.session_id, json(&key.key)?);
    }
    RawJson::of(&Rooms { rooms }).map_err(Error::serialization)
}

/// Returns the keys of one room.
pub(crate) async fn keys_of_room(
    app: App,
    call: Matrix<get_backup_keys_for_room::v3::Request>,
) -> Result<RawJson> {
    let version = &*call.request.version;
    let selection = of_room(&call.request.room_id);
    let keys = app
        .keys
        .backed_up(call.caller.user_id(), version, selection)
        .await?;
    let sessions = keys
        .iter()
        .map(|key| Ok((&*key.session_id, json(&key.key)?)))
        .collect::<Result<_>>()?;
    RawJson::of(&Room { sessions }).map_err(Error::serialization)
}

/// Returns the key of one session.
pub(crate) async fn key_of_session(
    app: App,
    call: Matrix<get_backup_keys_for_session::v3::Request>,
) -> Result<RawJson> {
    let request = &call.request;
    let selection = of_session(&request.room_id, &request.session_id);
    let keys = app
        .keys
        .backed_up(call.caller.user_id(), &request.version, selection)
        .await?;
    let key = keys.into_iter().next();
    Ok(key.ok_or(e2ee::Error::NotBackedUp)?.key.into())
}

/// Deletes all keys of a backup.
pub(crate) async fn delete_all_keys(
    app: App,
    call: Matrix<delete_backup_keys::v3::Request>,
) -> Result<RawJson> {
    let (user_id, version) = (call.caller.user_id(), &*call.request.version);
    let all = KeySelection::default();
    size(app.keys.delete_backed_up(user_id, version, all).await?)
}

/// Deletes the keys of one room.
pub(crate) async fn delete_keys_of_room(
    app: App,
    call: Matrix<delete_backup_keys_for_room::v3::Request>,
) -> Result<RawJson> {
    let (user_id, version) = (call.caller.user_id(), &*call.request.version);
    let selection = of_room(&call.request.room_id);
    size(
        app.keys
            .delete_backed_up(user_id, version, selection)
            .await?,
    )
}

/// Deletes the key of one session.
pub(crate) async fn delete_key_of_session(
    app: App,
    call: Matrix<delete_backup_keys_for_session::v3::Request>,
) -> Result<RawJson> {
    let (user_id, request) = (call.caller.user_id(), &call.request);
    let selection = of_session(&request.room_id, &request.session_id);
    size(
        app.keys
            .delete_backed_up(user_id, &request.version, selection)
            .await?,
    )
}

async fn back_up(app: &App, user_id: &UserId, version: &str, keys: RoomKeys) -> Result<RawJson> {
    match app.keys.back_up(user_id, version, keys).await {
        Ok(done) => size(done),
        Err(error @ e2ee::Error::NotCurrentBackup { current }) => {
            Err(Error::from(error).with_field("current_version", current.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

fn of_room(room_id: &RoomId) -> KeySelection<'_> {
    KeySelection {
        room_id: Some(room_id.as_str()),
        session_id: None,
    }
}

fn of_session<'a>(room_id: &'a RoomId, session_id: &'a str) -> KeySelection<'a> {
    KeySelection {
        room_id: Some(room_id.as_str()),
        session_id: Some(session_id),
    }
}

fn describe(backup: &KeyBackup) -> Result<RawJson> {
    RawJson::of(&Backup {
        algorithm: &backup.algorithm,
        auth_data: json(&backup.auth_data)?,
        count: backup.size.count,
        etag: backup.size.etag.to_string(),
        version: backup.version.to_string(),
    })
    .map_err(Error::serialization)
}

fn size(size: BackupSize) -> Result<RawJson> {
    RawJson::of(&Size {
        count: size.count,
        etag: size.etag.to_string(),
    })
    .map_err(Error::serialization)
}

/// JSON text that is stored as it was sent.
fn json(text: &str) -> Result<&RawValue> {
    serde_json::from_str(text).map_err(Error::serialization)
}
