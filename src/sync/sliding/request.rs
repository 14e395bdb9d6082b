//! A request of sliding sync, independent of the form in which a client sends it.

use std::{collections::BTreeMap, time::Duration};

use live::PresenceState;
use ruma::{OwnedDeviceId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};
use types::StreamPosition;

use crate::Error;
pub use crate::required_state::RequiredState;

/// The most lists of a request, and the most subscriptions.
const MAX_RULES: usize = 100;
/// The most ranges of a list, and the most entries of a list of a filter or extension.
const MAX_ENTRIES: usize = 100;
/// The most types and state keys that a request may name altogether.
const MAX_REQUIRED_STATE: usize = 1_000;
/// The longest name of a connection or list, in bytes.
const MAX_NAME: usize = 255;
/// The most events of a timeline.
const MAX_TIMELINE: usize = 100;

/// A request of sliding sync.
#[derive(Clone, Debug)]
pub struct Request {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device.
    pub device_id: OwnedDeviceId,
    /// The client's name for the connection.
    pub conn_id: String,
    /// The `pos` of the last response on the connection; none for a new connection.
    pub pos: Option<String>,
    /// Repeated in the response.
    pub txn_id: Option<String>,
    /// How long to wait if there are no changes.
    pub timeout: Duration,
    /// How the device wants to be shown while it syncs.
    pub set_presence: PresenceState,
    /// The lists of rooms, by name.
    pub lists: BTreeMap<String, RoomList>,
    /// The rooms that are subscribed to.
    pub subscriptions: BTreeMap<OwnedRoomId, RoomConfig>,
    /// What is asked for besides rooms.
    pub extensions: Extensions,
    /// In which form the response is written.
    pub format: Format,
}

/// The form of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As clients expect it at the unstable path.
    Unstable,
    /// As the proposal was accepted.
    Stable,
}

/// A window into the rooms of the user, sorted by their last activity.
#[derive(Clone, Debug)]
pub struct RoomList {
    /// First and last index of each part of the list that is asked for; all of it if none.
    pub ranges: Option<Vec<(u64, u64)>>,
    /// Which rooms are in the list.
    pub filters: ListFilters,
    /// What is asked of the rooms in the window.
    pub config: RoomConfig,
}

/// What is asked of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomConfig {
    /// How many events of the timeline.
    pub timeline_limit: usize,
    /// Which state.
    pub required_state: RequiredState,
}

/// Which rooms are in a list: all those that every field allows.
#[derive(Clone, Debug, Default)]
pub struct ListFilters {
    /// Only direct chats, or only others.
    pub is_dm: Option<bool>,
    /// Only children of one of these spaces, which the user is joined to.
    pub spaces: Option<Vec<OwnedRoomId>>,
    /// Only encrypted rooms, or only others.
    pub is_encrypted: Option<bool>,
    /// Only invitations, or only others.
    pub is_invited: Option<bool>,
    /// Only rooms of one of these types; `None` stands for rooms without a type.
    pub room_types: Option<Vec<Option<String>>>,
    /// No rooms of one of these types.
    pub not_room_types: Vec<Option<String>>,
    /// Only rooms with one of these tags.
    pub tags: Option<Vec<String>>,
    /// No rooms with one of these tags.
    pub not_tags: Vec<String>,
}

/// What is asked for besides rooms.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    /// To-device messages.
    pub to_device: Option<ToDevice>,
    /// Device lists and key counts.
    pub e2ee: bool,
    /// Account data.
    pub account_data: Option<Scope>,
    /// Receipts.
    pub receipts: Option<Scope>,
    /// Typing users.
    pub typing: Option<Scope>,
}

/// Which to-device messages.
#[derive(Clone, Debug, Default)]
pub struct ToDevice {
    /// The `next_batch` of the last response; none for all messages that are pending.
    pub since: Option<String>,
    /// The most messages.
    pub limit: Option<u64>,
}

/// Of which rooms in the response an extension tells.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Those of these lists; of all if none.
    pub lists: Option<Vec<String>>,
    /// Those of these subscriptions (`*` for all); all if none.
    pub rooms: Option<Vec<String>>,
}

impl Scope {
    /// Whether the extension tells of a room.
    pub(crate) fn contains(&self, room_id: &str, lists: &[&str], is_subscribed: bool) -> bool {
        let names = self.lists.as_ref();
        let in_list =
            |name: &&str| names.is_none_or(|names| names.iter().any(|known| known == name));
        let rooms = self.rooms.as_ref();
        let is_named =
            || rooms.is_none_or(|rooms| rooms.iter().any(|known| known == "*" || known == room_id));
        lists.iter().any(in_list) || (is_subscribed && is_named())
    }
}

impl RoomConfig {
    /// What is asked for by either of two rules.
    ///
    /// Spec: MSC4186, "Combining room configs".
    #[must_use]
    pub(crate) fn combine(&self, other: &Self) -> Self {
        Self {
            timeline_limit: self.timeline_limit.max(other.timeline_limit),
            required_state: self.required_state.union(&other.required_state),
        }
    }
}

impl Request {
    /// Refuses requests that ask for too much.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let limited = |what: &str, count: usize, most: usize| {
            let text = || format!("There are more than {most} {what}");
            (count <= most).then_some(()).ok_or_else(|| invalid(text()))
        };
        limited("bytes in `conn_id`", self.conn_id.len(), MAX_NAME)?;
        limited("lists", self.lists.len(), MAX_RULES)?;
        limited("room subscriptions", self.subscriptions.len(), MAX_RULES)?;
        let txn_id = self.txn_id.as_ref().map_or(0, String::len);
        limited("bytes in `txn_id`", txn_id, MAX_NAME)?;
        for (name, list) in &self.lists {
            limited("bytes in the name of a list", name.len(), MAX_NAME)?;
            list.check()?;
        }
        let configs = self.lists.values().map(|list| &list.config);
        let configs = configs.chain(self.subscriptions.values());
        let required = configs.map(|config| config.required_state.len()).sum();
        limited("entries of `required_state`", required, MAX_REQUIRED_STATE)?;
        let extensions = &self.extensions;
        let scopes = [
            &extensions.account_data,
            &extensions.receipts,
            &extensions.typing,
        ];
        for scope in scopes.into_iter().flatten() {
            let lists = scope.lists.as_ref().map_or(0, Vec::len);
            limited("lists of an extension", lists, MAX_ENTRIES)?;
            let rooms = scope.rooms.as_ref().map_or(0, Vec::len);
            limited("rooms of an extension", rooms, MAX_ENTRIES)?;
        }
        Ok(())
    }

    /// The device has received the to-device messages up to here, as far as the request says.
    pub(crate) fn received_to_device(&self) -> Result<Option<StreamPosition>, Error> {
        let to_device = self.extensions.to_device.as_ref();
        let since = to_device.and_then(|to_device| to_device.since.as_deref());
        let position = |since: &str| {
            let number = since
                .strip_prefix('d')
                .and_then(|number| number.parse().ok());
            let number = number.filter(|number: &i64| *number >= 0);
            let text = || invalid("`since` is not one that this server gave out".to_owned());
            number.map(StreamPosition).ok_or_else(text)
        };
        since.map(position).transpose()
    }
}

impl RoomList {
    fn check(&self) -> Result<(), Error> {
        let ranges = self.ranges.as_deref().unwrap_or_default();
        if ranges.iter().any(|(first, last)| first > last) {
            return Err(invalid("A range ends before it begins".to_owned()));
        }
        let filters = &self.filters;
        let counts = [
            ranges.len(),
            filters.spaces.as_ref().map_or(0, Vec::len),
            filters.room_types.as_ref().map_or(0, Vec::len),
            filters.not_room_types.len(),
            filters.tags.as_ref().map_or(0, Vec::len),
            filters.not_tags.len(),
        ];
        if counts.into_iter().any(|count| count > MAX_ENTRIES) {
            let text = format!("A list has more than {MAX_ENTRIES} ranges, or as many in a filter");
            return Err(invalid(text));
        }
        Ok(())
    }
}

impl RoomConfig {
    /// What is asked of a room; a timeline is never longer than this server's limit.
    pub fn new(timeline_limit: u64, required_state: RequiredState) -> Self {
        let limit = usize::try_from(timeline_limit).unwrap_or(MAX_TIMELINE);
        Self {
            timeline_limit: limit.min(MAX_TIMELINE),
            required_state,
        }
    }
}

fn invalid(text: String) -> Error {
    Error::InvalidRequest(text)
}
