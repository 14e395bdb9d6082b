//! The client-server API, one file per group of the specification.

pub(crate) mod account;
pub(crate) mod account_data;
pub(crate) mod aliases;
pub(crate) mod capabilities;
pub(crate) mod create_room;
pub(crate) mod dehydrated_device;
pub(crate) mod delayed_events;
pub(crate) mod devices;
pub(crate) mod federation_whitelist;
pub(crate) mod filter;
pub(crate) mod initial_sync;
pub(crate) mod invites;
pub(crate) mod key_backups;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod media;
pub(crate) mod members;
pub(crate) mod membership;
pub(crate) mod messages;
pub(crate) mod mutual_rooms;
pub(crate) mod notifications;
pub(crate) mod openid;
pub(crate) mod presence;
pub(crate) mod profile;
pub(crate) mod public_rooms;
pub(crate) mod push_rules;
pub(crate) mod pushers;
pub(crate) mod receipts;
pub(crate) mod refresh;
pub(crate) mod register;
pub(crate) mod relations;
pub(crate) mod reports;
pub(crate) mod search;
pub(crate) mod send;
pub(crate) mod sliding_sync;
pub(crate) mod spaces;
pub(crate) mod state;
pub(crate) mod sync;
pub(crate) mod tags;
pub(crate) mod thread_subscriptions;
pub(crate) mod threads;
pub(crate) mod to_device;
pub(crate) mod typing;
pub(crate) mod upgrade;
pub(crate) mod user_directory;
pub(crate) mod versions;
pub(crate) mod voip;

use identity::Caller;
use room::{Reader, Sender};
use ruma::UserId;
use types::ErrorKind;

use crate::{App, Error, Result};

/// Checks that the user in the path is the caller.
pub(crate) fn check_is_caller(caller: &Caller, user_id: &UserId) -> Result<()> {
    if caller.user_id() == user_id {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Forbidden,
        "This belongs to another user",
    ))
}

/// The caller as the reader of a room.
pub(crate) fn reader(caller: &Caller) -> Reader<'_> {
    Reader {
        user_id: caller.user_id(),
        device_id: caller.device_id(),
    }
}

/// The caller as the sender of events.
pub(crate) fn sender(caller: &Caller) -> Sender {
    Sender {
        user_id: caller.user_id().to_owned(),
        device_id: caller.device_id().map(ToOwned::to_owned),
        transaction: None,
    }
}

/// Notes that the caller is active.
///
/// Spec: client-server, "Last active ago".
pub(crate) fn record_activity(app: &App, caller: &Caller) {
    if let Some(device_id) = caller.device_id() {
        app.live.record_activity(caller.user_id(), device_id);
    }
}
