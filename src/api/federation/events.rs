//! Events of rooms, for the servers that are in them.
//!
//! Spec: server-server, "Backfilling and retrieving missing events", "Retrieving events".

use std::sync::Arc;

use event::Pdu;
use room::EventsBefore;
use ruma::api::federation::{
    authorization::get_event_authorization,
    backfill::get_backfill,
    event::{get_event, get_missing_events, get_room_state, get_room_state_ids},
};
use serde_json::value::RawValue;

use crate::{App, Matrix, Result};

/// One event.
pub(crate) async fn event(
    app: App,
    call: Matrix<get_event::v1::Request>,
) -> Result<get_event::v1::Response> {
    let event = app
        .rooms
        .serve_event(call.caller.origin(), &call.request.event_id)
        .await?;
    let (origin, now) = (app.server_name.clone(), app.clock.now());
    Ok(get_event::v1::Response::new(origin, now, raw(&event)))
}

/// The state before an event.
pub(crate) async fn state(
    app: App,
    call: Matrix<get_room_state::v1::Request>,
) -> Result<get_room_state::v1::Response> {
    let request = &call.request;
    let served = app
        .rooms
        .serve_state(call.caller.origin(), &request.room_id, &request.event_id)
        .await?;
    let [auth_chain, pdus] = [&served.auth_chain, &served.state].map(|events| raws(events));
    Ok(get_room_state::v1::Response::new(auth_chain, pdus))
}

/// The ids of the state before an event.
pub(crate) async fn state_ids(
    app: App,
    call: Matrix<get_room_state_ids::v1::Request>,
) -> Result<get_room_state_ids::v1::Response> {
    let request = &call.request;
    let served = app
        .rooms
        .serve_state(call.caller.origin(), &request.room_id, &request.event_id)
        .await?;
    let ids = |events: &[Arc<Pdu>]| events.iter().map(|pdu| pdu.event_id().clone()).collect();
    let (auth_chain, state) = (ids(&served.auth_chain), ids(&served.state));
    Ok(get_room_state_ids::v1::Response::new(auth_chain, state))
}

/// The events that authorise an event.
pub(crate) async fn event_auth(
    app: App,
    call: Matrix<get_event_authorization::v1::Request>,
) -> Result<get_event_authorization::v1::Response> {
    let request = &call.request;
    let chain = app
        .rooms
        .serve_auth_chain(call.caller.origin(), &request.room_id, &request.event_id)
        .await?;
    Ok(get_event_authorization::v1::Response::new(raws(&chain)))
}

/// Events and those before them, the newest first.
pub(crate) async fn backfill(
    app: App,
    call: Matrix<get_backfill::v1::Request>,
) -> Result<get_backfill::v1::Response> {
    let request = &call.request;
    let wanted = EventsBefore {
        latest: &request.v,
        earliest: &[],
        with_latest: true,
        min_depth: 0,
        limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
    };
    let events = app
        .rooms
        .serve_before(call.caller.origin(), &request.room_id, wanted)
        .await?;
    let (origin, now) = (app.server_name.clone(), app.clock.now());
    Ok(get_backfill::v1::Response::new(origin, now, raws(&events)))
}

/// The events between some that are known and some that are not connected to them, the oldest first.
pub(crate) async fn missing_events(
    app: App,
    call: Matrix<get_missing_events::v1::Request>,
) -> Result<get_missing_events::v1::Response> {
    let request = &call.request;
    let wanted = EventsBefore {
        latest: &request.latest_events,
        earliest: &request.earliest_events,
        with_latest: false,
        min_depth: request.min_depth.into(),
        limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
    };
    let mut events = app
        .rooms
        .serve_before(call.caller.origin(), &request.room_id, wanted)
        .await?;
    events.reverse();
    Ok(get_missing_events::v1::Response::new(raws(&events)))
}

fn raws(events: &[Arc<Pdu>]) -> Vec<Box<RawValue>> {
    events.iter().map(|pdu| raw(pdu)).collect()
}

fn raw(pdu: &Pdu) -> Box<RawValue> {
    // Cannot fail: a stored event is canonical JSON.
    RawValue::from_string(pdu.json().to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
