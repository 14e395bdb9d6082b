//! Writes a response of sliding sync.
//!
//! Spec: MSC4186, "Response Body".

use std::{collections::HashMap, sync::Arc};

use event::{Pdu, json::JsonWriter};
use live::{Reader, Room};
use ruma::api::client::filter::FilterDefinition;
use serde::Deserialize;
use storage::memberships::Membership;
use types::{PageToken, RoomNid};

use super::{
    SlidingQuery, extensions,
    plan::{Plans, RoomPlan},
    request::Format,
    rooms::RoomDetails,
};
use crate::{
    context::SyncContext,
    updates::{
        JoinedRoom, LeftRoom, RoomChange, RoomUpdate, StrippedState, SyncUpdates, TimelineUpdate,
    },
    v3::{event_writer::EventWriter, filter::Filter, rooms::write_stripped_event},
};

/// All that a response is made of.
#[derive(Clone, Copy)]
pub(super) struct Response<'a> {
    pub(super) query: SlidingQuery<'a>,
    pub(super) context: &'a SyncContext<'a>,
    /// How many rooms are in each list.
    pub(super) counts: &'a [(&'a str, u64)],
    pub(super) plans: &'a Plans<'a>,
    pub(super) details: &'a HashMap<RoomNid, RoomDetails>,
    pub(super) updates: &'a SyncUpdates<'a>,
}

impl<'a> Response<'a> {
    /// Whether there is anything that ends a wait.
    pub(super) fn has_changes(&self) -> bool {
        self.shown_rooms().next().is_some() || extensions::has_changes(self)
    }

    /// The rooms of which anything but what extensions tell is new.
    fn shown_rooms(&self) -> impl Iterator<Item = ShownRoom<'a>> {
        let response = *self;
        response.updates.rooms.iter().filter_map(move |update| {
            let room_nid = update.room_nid;
            let room = ShownRoom {
                update,
                plan: response.plans.get(&room_nid)?,
                details: response.details.get(&room_nid).copied().unwrap_or_default(),
                membership: response.context.view.user.room(room_nid)?,
                is_direct: response.context.view.user.is_direct(update.room_id),
            };
            room.has_changes().then_some(room)
        })
    }
}

/// A room in a response.
#[derive(Clone, Copy)]
struct ShownRoom<'a> {
    update: &'a RoomUpdate<'a>,
    plan: &'a RoomPlan<'a>,
    details: RoomDetails,
    membership: &'a Membership,
    is_direct: bool,
}

impl ShownRoom<'_> {
    fn has_changes(&self) -> bool {
        let joined = match &self.update.change {
            RoomChange::Joined(joined) => joined,
            RoomChange::AccountData(_) => return false,
            _ => return true,
        };
        joined.is_initial
            || self.direct_changed()
            || joined.has_own_receipts
            || joined.summary.is_some()
            || joined.changed.name
            || joined.changed.avatar
            || !joined.state.is_empty()
            || !joined.removed_state.is_empty()
            || !joined.timeline.events.is_empty()
            || joined.timeline.limited
    }

    fn direct_changed(&self) -> bool {
        self.plan.was_direct.unwrap_or_default() != self.is_direct
    }
}

/// The response.
pub(super) fn write(response: &Response<'_>, position: &str, now_ms: u64) -> String {
    let request = response.query.request;
    let filter = Filter::new(&FilterDefinition::default());
    let room_writer = RoomWriter {
        events: EventWriter {
            reader: Reader {
                user_id: &request.user_id,
                device_id: Some(&request.device_id),
            },
            filter: &filter,
            now_ms,
            aggregations: &response.updates.aggregations,
        },
        format: request.format,
    };
    let mut json = JsonWriter::new();
    json.object(|json| {
        json.field("pos").string(position);
        if let Some(txn_id) = &request.txn_id {
            json.field("txn_id").string(txn_id);
        }
        json.field("lists").object(|json| {
            for (name, count) in response.counts {
                json.field(name)
                    .object(|json| json.field("count").literal(*count));
            }
        });
        json.field("rooms").object(|json| {
            for room in response.shown_rooms() {
                json.field(room.update.room_id.as_str());
                json.object(|json| room_writer.write(json, &room));
            }
        });
        extensions::write(json.field("extensions"), response);
    });
    json.into_string()
}

/// Writes rooms in one format for one reader.
struct RoomWriter<'a> {
    events: EventWriter<'a>,
    format: Format,
}

impl RoomWriter<'_> {
    fn write(&self, json: &mut JsonWriter, room: &ShownRoom<'_>) {
        if let Some(bump_stamp) = room.details.bump_stamp {
            json.field("bump_stamp").literal(bump_stamp.get());
        }
        if self.format == Format::Stable {
            json.field("membership")
                .string(room.membership.membership.as_str());
            if !room.plan.lists.is_empty() {
                let lists = &room.plan.lists;
                json.field("lists")
                    .array(lists, |json, name| json.string(name));
            }
        }
        match &room.update.change {
            RoomChange::Joined(joined) => self.write_joined(json, room, joined),
            RoomChange::Left(left) => self.write_left(json, room, left),
            RoomChange::Invited(state) | RoomChange::Knocked(state) => {
                self.write_outside(json, room, state);
            }
            RoomChange::AccountData(_) => {}
        }
    }

    fn write_joined(&self, json: &mut JsonWriter, room: &ShownRoom<'_>, joined: &JoinedRoom<'_>) {
        if joined.is_initial {
            json.field("initial").literal(true);
        }
        write_names(json, joined);
        if room.direct_changed() || (joined.is_initial && room.is_direct) {
            json.field("is_dm").literal(room.is_direct);
        }
        if let Some(summary) = &joined.summary {
            json.field("joined_count").literal(summary.counts.joined);
            json.field("invited_count").literal(summary.counts.invited);
            if summary.heroes.is_some() {
                json.field("heroes").array(&joined.hero_members, write_hero);
            }
        }
        let removed: &[_] = match self.format {
            Format::Unstable => &[],
            Format::Stable => &joined.removed_state,
        };
        self.write_state(json, &joined.state, removed);
        let is_expanded = room.plan.is_expanded && !joined.is_initial;
        self.write_timeline(json, room, &joined.timeline, is_expanded);
        if let Some(unread) = joined
            .unread
            .as_ref()
            .filter(|_| self.format == Format::Unstable)
        {
            let total = unread.total();
            json.field("notification_count")
                .literal(total.notifications);
            json.field("highlight_count").literal(total.highlights);
        }
    }

    fn write_left(&self, json: &mut JsonWriter, room: &ShownRoom<'_>, left: &LeftRoom<'_>) {
        if left.is_initial && room.plan.was_direct.is_none() {
            json.field("initial").literal(true);
        }
        self.write_state(json, &left.state, &[]);
        self.write_timeline(json, room, &left.timeline, false);
    }

    /// A room that the user is invited to, or knocked at.
    fn write_outside(
        &self,
        json: &mut JsonWriter,
        room: &ShownRoom<'_>,
        StrippedState(state): &StrippedState<'_>,
    ) {
        if room.plan.was_direct.is_none() {
            json.field("initial").literal(true);
        }
        let name = match self.format {
            Format::Unstable => "invite_state",
            Format::Stable => "stripped_state",
        };
        json.field(name)
            .array(state, |json, pdu| write_stripped_event(json, pdu));
    }

    fn write_state(&self, json: &mut JsonWriter, state: &[Arc<Pdu>], removed: &[(String, String)]) {
        if state.is_empty() && removed.is_empty() {
            return;
        }
        let events = state.iter().map(Ok);
        let events = events.chain(removed.iter().map(Err));
        json.field("required_state")
            .array(events, |json, event| match event {
                Ok(pdu) => json.raw_with(|out| self.events.state(out, pdu)),
                Err((event_type, state_key)) => json.object(|json| {
                    json.field("type").string(event_type);
                    json.field("state_key").string(state_key);
                }),
            });
    }

    fn write_timeline(
        &self,
        json: &mut JsonWriter,
        room: &ShownRoom<'_>,
        timeline: &TimelineUpdate,
        is_expanded: bool,
    ) {
        if is_expanded {
            let name = match self.format {
                Format::Unstable => "unstable_expanded_timeline",
                Format::Stable => "expanded_timeline",
            };
            json.field(name).literal(true);
        }
        if !timeline.events.is_empty() {
            json.field("timeline")
                .array(&timeline.events, |json, event| {
                    let membership = timeline.membership_at(event);
                    json.raw_with(|out| self.events.timeline_event(out, event, membership));
                });
            json.field("num_live").literal(room.details.live_events);
        }
        if !timeline.events.is_empty() || timeline.limited {
            json.field("limited").literal(timeline.limited);
            json.field("prev_batch")
                .string(&PageToken(timeline.prev).to_string());
        }
    }
}

/// Writes name and avatar: all that is there for a new room, then what changed; `null` where it is gone.
fn write_names(json: &mut JsonWriter, joined: &JoinedRoom<'_>) {
    let fields = [
        ("name", name(joined.room), joined.changed.name),
        ("avatar", avatar(joined.room), joined.changed.avatar),
    ];
    for (field, value, changed) in fields {
        match value {
            Some(value) if joined.is_initial || changed => json.field(field).string(&value),
            None if changed && !joined.is_initial => json.field(field).raw("null"),
            _ => {}
        }
    }
}

/// The name of a room, if it has one.
fn name(room: &Room) -> Option<String> {
    #[derive(Deserialize)]
    struct Content {
        name: Option<String>,
    }
    let event = room.state().core().get("m.room.name", "")?;
    let content: Content = event.content_as().ok()?;
    content.name.filter(|name| !name.is_empty())
}

/// The avatar of a room, if it has one.
fn avatar(room: &Room) -> Option<String> {
    #[derive(Deserialize)]
    struct Content {
        url: Option<String>,
    }
    let event = room.state().core().get("m.room.avatar", "")?;
    let content: Content = event.content_as().ok()?;
    content.url.filter(|url| !url.is_empty())
}

/// Writes a hero by the member event.
fn write_hero(json: &mut JsonWriter, member: &Arc<Pdu>) {
    #[derive(Deserialize)]
    struct Content {
        displayname: Option<String>,
        avatar_url: Option<String>,
    }
    let content: Option<Content> = member.content_as().ok();
    json.object(|json| {
        json.field("user_id")
            .string(member.state_key().unwrap_or_default());
        let Some(content) = content else {
            return;
        };
        for (field, value) in [
            ("displayname", content.displayname),
            ("avatar_url", content.avatar_url),
        ] {
            if let Some(value) = value {
                json.field(field).string(&value);
            }
        }
    });
}
