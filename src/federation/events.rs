//! Requests for events of rooms, and for the states at them.
//!
//! Spec: server-server, "Backfilling and retrieving missing events", "Retrieving events".

use std::time::Duration;

use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, RoomId, ServerName, UInt,
    api::{
        Direction,
        federation::{
            authorization::get_event_authorization,
            backfill::get_backfill,
            event::{
                get_event, get_event_by_timestamp, get_missing_events, get_room_state,
                get_room_state_ids,
            },
        },
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

/// A time next to which an event is looked for.
#[derive(Clone, Copy, Debug)]
pub struct AtTime {
    /// The time.
    pub ts: MilliSecondsSinceUnixEpoch,
    /// The first event at or after it forwards, the last at or before it backwards.
    pub direction: Direction,
}

impl Federation {
    /// Asks a server for the event of a room next to a time; returns its id and time.
    pub async fn event_at_time(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        wanted: AtTime,
    ) -> Result<(OwnedEventId, MilliSecondsSinceUnixEpoch)> {
        let AtTime { ts, direction } = wanted;
        let request = get_event_by_timestamp::v1::Request::new(room_id.to_owned(), ts, direction);
        let response = self.request(server, request, EVENT).await?;
        Ok((response.event_id, response.origin_server_ts))
    }

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

    /// Asks a server for some events and those before them, `limit` in all.
    pub async fn backfill(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        latest: &[OwnedEventId],
        limit: u32,
    ) -> Result<Vec<Box<RawValue>>> {
        let request =
            get_backfill::v1::Request::new(room_id.to_owned(), latest.to_vec(), limit.into());
        let mut events = self.request(server, request, EVENTS).await?.pdus;
        events.truncate(limit as usize);
        Ok(events)
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
