//! Requests for events of rooms, and for the states at them.
//!
//! Spec: server-server, "Backfilling and retrieving missing events", "Retrieving events".

use std::time::Duration;

use ruma::{
    EventId, OwnedEventId, RoomId, ServerName, UInt,
    api::federation::{
        authorization::get_event_authorization,
        event::{get_event, get_missing_events, get_room_state, get_room_state_ids},
    },
};
use serde_json::value::RawValue;

use crate::{Federation, Result, client::Limits};

/// One event, which is not larger than 64 KiB.
const EVENT: Limits = Limits {
    timeout: Duration::from_secs(30),
    max_body: 256 * 1024,
};
/// A page of events.
const EVENTS: Limits = Limits {
    timeout: Duration::from_mins(1),
    max_body: 16 * 1024 * 1024,
};
/// The state of a large room, or its ids.
const STATE: Limits = Limits {
    timeout: Duration::from_mins(5),
    max_body: 256 * 1024 * 1024,
};

/// The state before an event, by ids.
#[derive(Clone, Debug)]
pub struct StateIds {
    /// The events of the state.
    pub state: Vec<OwnedEventId>,
    /// The events that authorise them.
    pub auth_chain: Vec<OwnedEventId>,
}

/// A part of a room's graph.
#[derive(Clone, Copy, Debug)]
pub struct Gap<'a> {
    /// What is known below: nothing before these is wanted.
    pub earliest: &'a [OwnedEventId],
    /// What is known above: what comes before these is wanted.
    pub latest: &'a [OwnedEventId],
    /// How many events at the most.
    pub limit: u32,
}

impl Federation {
    /// Asks a server for one event.
    pub async fn event(&self, server: &ServerName, event_id: &EventId) -> Result<Box<RawValue>> {
        let request = get_event::v1::Request::new(event_id.to_owned());
        Ok(self.request(server, request, EVENT).await?.pdu)
    }

    /// Asks a server for the events that fill a gap.
    pub async fn missing_events(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        gap: Gap<'_>,
    ) -> Result<Vec<Box<RawValue>>> {
        let (earliest, latest) = (gap.earliest.to_vec(), gap.latest.to_vec());
        let mut request =
            get_missing_events::v1::Request::new(room_id.to_owned(), earliest, latest);
        request.limit = UInt::from(gap.limit);
        Ok(self.request(server, request, EVENTS).await?.events)
    }

    /// Asks a server for the ids of the state before an event.
    pub async fn state_ids(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<StateIds> {
        let request = get_room_state_ids::v1::Request::new(event_id.to_owned(), room_id.to_owned());
        let response = self.request(server, request, STATE).await?;
        Ok(StateIds {
            state: response.pdu_ids,
            auth_chain: response.auth_chain_ids,
        })
    }

    /// Asks a server for the state before an event, and the events that authorise it.
    pub async fn state(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Vec<Box<RawValue>>> {
        let request = get_room_state::v1::Request::new(event_id.to_owned(), room_id.to_owned());
        let response = self.request(server, request, STATE).await?;
        let mut events = response.pdus;
        events.extend(response.auth_chain);
        Ok(events)
    }

    /// Asks a server for the events that authorise an event.
    pub async fn event_auth(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Vec<Box<RawValue>>> {
        let request =
            get_event_authorization::v1::Request::new(room_id.to_owned(), event_id.to_owned());
        Ok(self.request(server, request, STATE).await?.auth_chain)
    }
}
