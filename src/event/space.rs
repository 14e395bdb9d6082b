//! The rooms of a space.
//!
//! Spec: client-server, "m.space.child" and "Ordering of children within a space".

use std::cmp::Ordering;

use ruma::{OwnedRoomId, OwnedServerName};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::{Pdu, RoomSummary};

/// The type of the events that name the rooms of a space.
pub const SPACE_CHILD: &str = "m.space.child";
/// The longest `order`, in bytes, which are ASCII characters.
const MAX_ORDER: usize = 50;

/// A room in a space, as the space names it. Children are ordered as clients show them.
#[derive(Clone, Debug)]
pub struct SpaceChild {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Servers that may know the room.
    pub via: Vec<OwnedServerName>,
    /// Whether it is suggested to those who join the space.
    pub suggested: bool,
    order: Option<String>,
    origin_server_ts: u64,
    /// The event in stripped form with its timestamp.
    stripped: Box<RawValue>,
}

/// A room as spaces show it: with the rooms in it, if it is a space.
#[derive(Clone, Debug, Serialize)]
pub struct SpaceRoom {
    /// The room.
    #[serde(flatten)]
    pub summary: RoomSummary,
    /// The rooms in it, in order.
    #[serde(rename = "children_state")]
    pub children: Vec<SpaceChild>,
}

#[derive(Deserialize, Serialize)]
struct Stripped<'a> {
    #[serde(rename = "type")]
    event_type: String,
    state_key: String,
    #[serde(borrow)]
    content: &'a RawValue,
    sender: String,
    origin_server_ts: u64,
}

#[derive(Deserialize)]
struct Content {
    /// Without a server the room is not in the space.
    via: Vec<String>,
    #[serde(default)]
    order: serde_json::Value,
    #[serde(default)]
    suggested: serde_json::Value,
}

impl SpaceChild {
    /// The room that an event of the space's state names; none if it names none, or not any more.
    pub fn of(pdu: &Pdu) -> Option<Self> {
        Self::read(&Stripped {
            event_type: pdu.event_type().to_owned(),
            state_key: pdu.state_key()?.to_owned(),
            content: pdu.content(),
            sender: pdu.sender().to_string(),
            origin_server_ts: pdu.origin_server_ts().get().into(),
        })
    }

    /// The same from an event in stripped form, as another server tells it.
    pub fn of_stripped(event: &RawValue) -> Option<Self> {
        Self::read(&serde_json::from_str(event.get()).ok()?)
    }

    fn read(event: &Stripped<'_>) -> Option<Self> {
        if event.event_type != SPACE_CHILD {
            return None;
        }
        let room_id = OwnedRoomId::try_from(&*event.state_key).ok()?;
        let content: Content = serde_json::from_str(event.content.get()).ok()?;
        let via = content.via.into_iter();
        let via: Vec<_> = via
            .filter_map(|server| OwnedServerName::try_from(server).ok())
            .collect();
        if via.is_empty() {
            return None;
        }
        let order = content.order.as_str().filter(|order| is_order(order));
        Some(Self {
            room_id,
            via,
            suggested: content.suggested == true,
            order: order.map(str::to_owned),
            origin_server_ts: event.origin_server_ts,
            stripped: to_raw_value(event).ok()?,
        })
    }

    /// The size of the event in stripped form, in bytes.
    pub fn size(&self) -> usize {
        self.stripped.get().len()
    }
}

/// As an event in stripped form with its timestamp.
impl Serialize for SpaceChild {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.stripped.serialize(serializer)
    }
}

/// Whether a text is a valid `order`.
fn is_order(order: &str) -> bool {
    let is_allowed = |byte: u8| (b' '..=b'~').contains(&byte);
    (1..=MAX_ORDER).contains(&order.len()) && order.bytes().all(is_allowed)
}

impl Ord for SpaceChild {
    fn cmp(&self, other: &Self) -> Ordering {
        // Rooms without an `order` come last.
        let has_none = self.order.is_none().cmp(&other.order.is_none());
        has_none
            .then_with(|| self.order.cmp(&other.order))
            .then_with(|| self.origin_server_ts.cmp(&other.origin_server_ts))
            .then_with(|| self.room_id.cmp(&other.room_id))
    }
}

impl PartialOrd for SpaceChild {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SpaceChild {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for SpaceChild {}

#[cfg(test)]
mod tests;
