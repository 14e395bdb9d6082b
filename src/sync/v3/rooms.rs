//! Writes the `rooms` section: joined, invited, knocked and left rooms.

use std::sync::Arc;

use event::{ClientEvent, Pdu, json::JsonWriter, view};
use live::{NotificationCount, Thread, UnreadCounts};
use types::PageToken;

use super::{
    V3Query, ephemeral,
    event_writer::EventWriter,
    events::{write_account_data, write_events},
};
use crate::updates::{
    JoinedRoom, LeftRoom, RoomChange, RoomUpdate, StrippedState, Summary, TimelineUpdate,
};

/// Writes the section, if there is any room.
pub(super) fn write(
    json: &mut JsonWriter,
    query: &V3Query<'_>,
    event_writer: &EventWriter<'_>,
    rooms: &[RoomUpdate<'_>],
) {
    if rooms.is_empty() {
        return;
    }
    let room_writer = RoomWriter {
        query,
        event_writer,
    };
    json.field("rooms").object(|json| {
        for section in ["join", "invite", "knock", "leave"] {
            let is_here = |room: &&RoomUpdate<'_>| section_of(&room.change) == section;
            let mut rooms = rooms.iter().filter(is_here).peekable();
            if rooms.peek().is_some() {
                json.field(section).object(|json| {
                    for room in rooms {
                        json.field(room.room_id.as_str());
                        room_writer.write(json, &room.change);
                    }
                });
            }
        }
    });
}

fn section_of(change: &RoomChange<'_>) -> &'static str {
    match change {
        RoomChange::Joined(_) | RoomChange::AccountData(_) => "join",
        RoomChange::Invited(_) => "invite",
        RoomChange::Knocked(_) => "knock",
        RoomChange::Left(_) => "leave",
    }
}

/// Writes rooms for one reader.
struct RoomWriter<'a> {
    query: &'a V3Query<'a>,
    event_writer: &'a EventWriter<'a>,
}

impl RoomWriter<'_> {
    fn write(&self, json: &mut JsonWriter, change: &RoomChange<'_>) {
        json.object(|json| match change {
            RoomChange::Joined(room) => self.write_joined(json, room),
            RoomChange::AccountData(data) => {
                write_account_data(json.field("account_data"), data.iter().copied());
            }
            RoomChange::Invited(state) => write_stripped(json.field("invite_state"), state),
            RoomChange::Knocked(state) => write_stripped(json.field("knock_state"), state),
            RoomChange::Left(room) => self.write_left(json, room),
        });
    }

    fn write_joined(&self, json: &mut JsonWriter, room: &JoinedRoom<'_>) {
        if let Some(summary) = &room.summary {
            write_summary(json.field("summary"), summary);
        }
        self.write_state(json, &room.state);
        self.write_timeline(json, &room.timeline);
        ephemeral::write(json.field("ephemeral"), room);
        write_account_data(
            json.field("account_data"),
            room.account_data.iter().copied(),
        );
        if let Some(unread) = &room.unread {
            self.write_unread(json, unread);
        }
    }

    fn write_left(&self, json: &mut JsonWriter, room: &LeftRoom<'_>) {
        self.write_state(json, &room.state);
        self.write_timeline(json, &room.timeline);
        write_account_data(
            json.field("account_data"),
            room.account_data.iter().copied(),
        );
    }

    fn write_state(&self, json: &mut JsonWriter, state: &[Arc<Pdu>]) {
        let is_after = self.query.request.use_state_after;
        json.field(if is_after { "state_after" } else { "state" });
        write_events(json, state, |json, pdu| {
            json.raw_with(|out| self.event_writer.state(out, pdu));
        });
    }

    fn write_timeline(&self, json: &mut JsonWriter, timeline: &TimelineUpdate) {
        json.field("timeline").object(|json| {
            json.field("events").array(&timeline.events, |json, event| {
                let membership = timeline.membership_at(event);
                json.raw_with(|out| self.event_writer.timeline_event(out, event, membership));
            });
            json.field("limited").literal(timeline.limited);
            json.field("prev_batch")
                .string(&PageToken(timeline.prev).to_string());
        });
    }

    /// Writes the counts of the room, or by thread if the filter asks for it.
    fn write_unread(&self, json: &mut JsonWriter, unread: &UnreadCounts) {
        json.field("unread_notifications");
        if !self.query.filter.unread_thread_notifications {
            write_count(json, unread.total());
            return;
        }
        let main = unread.counts.get(&Thread::Main).copied();
        write_count(json, main.unwrap_or_default());
        let threads = unread.counts.iter();
        let threads = threads.filter_map(|(thread, count)| match thread {
            Thread::Main => None,
            Thread::Of(root) => Some((root, count)),
        });
        let mut threads = threads.peekable();
        if threads.peek().is_some() {
            json.field("unread_thread_notifications").object(|json| {
                for (root, count) in threads {
                    write_count(json.field(root.as_str()), *count);
                }
            });
        }
    }
}

fn write_count(json: &mut JsonWriter, count: NotificationCount) {
    json.object(|json| {
        json.field("highlight_count").literal(count.highlights);
        json.field("notification_count")
            .literal(count.notifications);
    });
}

fn write_summary(json: &mut JsonWriter, summary: &Summary<'_>) {
    json.object(|json| {
        if let Some(heroes) = &summary.heroes {
            json.field("m.heroes")
                .array(heroes, |json, user_id| json.string(user_id.as_str()));
        }
        json.field("m.joined_member_count")
            .literal(summary.counts.joined);
        json.field("m.invited_member_count")
            .literal(summary.counts.invited);
    });
}

fn write_stripped(json: &mut JsonWriter, StrippedState(state): &StrippedState<'_>) {
    write_events(json, state, |json, pdu| write_stripped_event(json, pdu));
}

/// Writes an event of stripped state.
pub(crate) fn write_stripped_event(json: &mut JsonWriter, pdu: &Pdu) {
    json.raw_with(|out| {
        // MSC4311: the create event is whole, so that clients can check it.
        if pdu.event_type() == "m.room.create" {
            ClientEvent::of(pdu).write(out);
        } else {
            view::stripped(pdu, out);
        }
    });
}
