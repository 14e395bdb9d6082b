//! One attempt to answer: selects the rooms, collects what is new, records what is sent.

use std::collections::{HashMap, HashSet};

use event::EventFilter;
use live::{ChangedRooms, ViewQuery};
use ruma::events::room::member::MembershipState;
use storage::memberships::Membership;
use types::{RoomNid, SyncToken};

use super::{
    SlidingQuery,
    connection::{ConnectionUpdate, sent_config},
    lists,
    plan::{self, Plans, RoomPlan},
    position::{Owner, Position},
    rooms,
    writer::{self, Response},
};
use crate::{
    Error, SyncResponder,
    collect::{self, MAX_TO_DEVICE},
    context::SyncContext,
    query::{SyncQuery, ToDeviceQuery},
    updates::{RoomChange, RoomUpdate, SyncUpdates},
};

impl SyncResponder {
    /// The response; `None` if there are no changes and the request waits for some.
    pub(super) async fn respond_sliding(
        &self,
        query: SlidingQuery<'_>,
        waits: bool,
    ) -> Result<Option<String>, Error> {
        let (live, subscription) = (&self.inner().live, query.subscription);
        let mut changed = live
            .changed_rooms(subscription, query.possibly_missed)
            .await?;
        let (counts, plans) = {
            let selection = lists::select(live, query, &changed).await?;
            let plans = plan::rooms(query, &changed, &selection.rooms);
            (selection.counts, plans)
        };
        let view_query = ViewQuery {
            since: None,
            of: &|membership| plans.contains_key(&membership.room_nid),
        };
        let view = live.view(subscription, &view_query).await?;
        if view.position > changed.position || view.ephemeral > changed.ephemeral {
            changed = live
                .changed_rooms(subscription, query.possibly_missed)
                .await?;
        }
        let context = SyncContext {
            user_id: &query.request.user_id,
            device_id: &query.request.device_id,
            database: &self.inner().database,
            live,
            subscription,
            view: &view,
            since: query.since,
            possibly_missed: query.possibly_missed,
        };
        let all = EventFilter::default();
        let sync_query = sync_query(query, &all)?;
        let of_room = |membership: &Membership| {
            let plan = plans.get(&membership.room_nid);
            plan.map(|plan| plan.query(&all))
        };
        let sync_query = SyncQuery {
            room: &of_room,
            ..sync_query
        };
        let mut updates = collect::updates(&context, sync_query).await?;
        prepare(&mut updates, &plans, &changed, query);
        let details = rooms::details(&context, &plans, &updates).await?;
        let response = Response {
            query,
            context: &context,
            counts: &counts,
            plans: &plans,
            details: &details,
            updates: &updates,
        };
        if waits && !response.has_changes() {
            return Ok(None);
        }
        let position = self.record(query, &plans, &changed, &response).await?;
        let now_ms = self.inner().clock.now_ms();
        Ok(Some(writer::write(&response, &position, now_ms)))
    }

    /// Records what the response sends; returns the position from which the client goes on.
    async fn record(
        &self,
        query: SlidingQuery<'_>,
        plans: &Plans<'_>,
        changed: &ChangedRooms,
        response: &Response<'_>,
    ) -> Result<String, Error> {
        let view = response.context.view;
        let mut update = ConnectionUpdate::new(query.connection);
        let updates = response.updates.rooms.iter();
        let updates: HashMap<RoomNid, &RoomUpdate<'_>> =
            updates.map(|update| (update.room_nid, update)).collect();
        for (room_nid, plan) in plans {
            record_room(
                &mut update,
                response,
                (*room_nid, plan),
                updates.get(room_nid).copied(),
            );
        }
        if let Some(since) = query.since_stream() {
            let data_changed = query.data_changed(changed);
            let all_changed = changed.rooms.iter().copied().chain(data_changed);
            for room_nid in all_changed.filter(|room_nid| !plans.contains_key(room_nid)) {
                update.leave_out(room_nid, since);
            }
        }
        let owner = Owner::of(query.request);
        let version = match update.into_changed() {
            Some(connection) => {
                let inner = self.inner();
                let connections = &inner.connections;
                Box::pin(connections.insert(&inner.database, &owner, query.version, connection))
                    .await?
            }
            None => query.version,
        };
        let token = SyncToken {
            stream: view.position,
            ephemeral: view.ephemeral,
            to_device: None,
        };
        Ok(Position { token, version }.write(&owner))
    }
}

/// What is asked for besides rooms.
fn sync_query<'a>(query: SlidingQuery<'_>, all: &'a EventFilter) -> Result<SyncQuery<'a>, Error> {
    let extensions = &query.request.extensions;
    let received = query.request.received_to_device()?;
    let to_device = extensions.to_device.as_ref().map(|to_device| {
        let limit = to_device
            .limit
            .and_then(|limit| usize::try_from(limit).ok());
        ToDeviceQuery {
            after: received.unwrap_or_default(),
            limit: limit.unwrap_or(MAX_TO_DEVICE).clamp(1, MAX_TO_DEVICE),
        }
    });
    Ok(SyncQuery {
        account_data: extensions.account_data.as_ref().map(|_| all),
        presence: None,
        to_device,
        encryption: extensions.e2ee,
        room: &|_| None,
    })
}

/// Takes out of the updates what is not for a client of sliding sync.
fn prepare(
    updates: &mut SyncUpdates<'_>,
    plans: &Plans<'_>,
    changed: &ChangedRooms,
    query: SlidingQuery<'_>,
) {
    updates.rooms.retain(|update| match &update.change {
        // An invitation that was taken back, or a ban from outside: nobody was told of the room.
        RoomChange::Left(left) => {
            let plan = plans.get(&update.room_nid);
            !left.never_joined || plan.is_some_and(|plan| plan.was_direct.is_some())
        }
        _ => true,
    });
    for update in &mut updates.rooms {
        let RoomChange::Joined(joined) = &mut update.change else {
            continue;
        };
        let is_typing_new =
            query.since.is_none() || joined.is_initial || changed.typing.contains(&update.room_nid);
        if !is_typing_new {
            // The users who stopped may be forgotten; then a client is told that nobody types.
            let is_asked = plans.get(&update.room_nid).is_some_and(|plan| plan.typing);
            let nobody = is_asked && changed.may_have_missed_typing && joined.typing.is_none();
            joined.typing = nobody.then(Vec::new);
        }
        if joined.is_initial {
            // Of a room that is new to the client only what belongs to the timeline.
            let events = joined.timeline.events.iter();
            let shown: HashSet<_> = events.map(|event| event.pdu().event_id()).collect();
            joined.receipts.retain(|receipt| {
                receipt.user_id == query.request.user_id || shown.contains(&receipt.event_id)
            });
        }
    }
}

fn is_left(membership: &Membership) -> bool {
    matches!(
        membership.membership,
        MembershipState::Leave | MembershipState::Ban
    )
}

/// Records what is sent of a room that something was planned for.
fn record_room(
    update: &mut ConnectionUpdate<'_>,
    response: &Response<'_>,
    (room_nid, plan): (RoomNid, &RoomPlan<'_>),
    sent: Option<&RoomUpdate<'_>>,
) {
    let user = &response.context.view.user;
    let Some(membership) = user.room(room_nid) else {
        update.remove(room_nid);
        return;
    };
    let is_direct = user.is_direct(&membership.room_id);
    let before = plan.sent_config;
    match sent.map(|sent| &sent.change) {
        Some(RoomChange::Joined(joined)) => {
            let before = before.filter(|_| !joined.is_initial);
            let (limited, left) = (joined.timeline.limited, joined.changed.left_required);
            let config = sent_config(before, &plan.config, limited, left);
            update.send(room_nid, &config, is_direct);
        }
        Some(RoomChange::Left(_)) if !membership.was_removed(&response.query.request.user_id) => {
            update.remove(room_nid);
        }
        // Whatever comes later of a room that the user was removed from, or is invited to, is a new
        // membership.
        Some(_) => update.send(room_nid, &plan.config, is_direct),
        // There was nothing to tell: nothing is left out any more, and of a room that the user never was
        // in there is nothing to tell again.
        None if plan.was_direct.is_some() || is_left(membership) => {
            let config = sent_config(before, &plan.config, false, false);
            update.send(room_nid, &config, is_direct);
        }
        None => {}
    }
}
