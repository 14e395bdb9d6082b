//! The `rooms` section: joined, invited, knocked and left rooms.

mod collect;
mod ephemeral;
mod invited;
mod notifications;
mod room_section;

use live::Room;
use ruma::{OwnedRoomId, events::room::member::MembershipState};
use storage::memberships::Membership;

use self::{collect::collect_rooms, room_section::RoomSection};
use crate::{
    Error,
    context::SyncContext,
    response::{Response, push_field},
    streams::Stream,
    unread,
};

/// The `rooms` section.
pub(crate) struct Rooms;

/// The rooms of one membership, each serialised.
#[derive(Debug, Default)]
struct Group(Vec<(OwnedRoomId, String)>);

impl Group {
    fn add(&mut self, room_id: &OwnedRoomId, text: Option<String>) {
        self.0.extend(text.map(|text| (room_id.clone(), text)));
    }

    fn write(&self, out: &mut String, name: &str) {
        if self.0.is_empty() {
            return;
        }
        push_field(out, name);
        out.push('{');
        for (room_id, text) in &self.0 {
            push_field(out, room_id.as_str());
            out.push_str(text);
        }
        out.push('}');
    }
}

impl Stream for Rooms {
    async fn write(&self, context: &SyncContext<'_>, response: &mut Response) -> Result<(), Error> {
        let (mut join, mut invite) = (Group::default(), Group::default());
        let (mut knock, mut leave) = (Group::default(), Group::default());
        for (room, membership) in rooms_in_view(context) {
            match membership.membership {
                MembershipState::Invite => {
                    invite.add(
                        &membership.room_id,
                        invited::invite(context, room, membership),
                    );
                }
                MembershipState::Knock => {
                    knock.add(
                        &membership.room_id,
                        invited::knock(context, room, membership),
                    );
                }
                _ => {}
            }
        }
        let sections = collect_rooms(context).await?;
        let rooms = sections
            .iter()
            .map(|section| (section.room, section.membership));
        let unread = unread::count(context, rooms).await?;
        for section in sections {
            let RoomSection { membership, .. } = &section;
            let room_id = &membership.room_id;
            if membership.membership == MembershipState::Join {
                let unread = unread.get(&membership.room_nid);
                join.add(
                    room_id,
                    section.joined(context, unread.map(|unread_counts| &**unread_counts)),
                );
            } else {
                leave.add(room_id, Some(section.left(context)));
            }
        }
        for membership in with_changed_account_data_only(context) {
            join.add(
                &membership.room_id,
                room_section::account_data_only(context, membership),
            );
        }
        let groups = [
            ("join", join),
            ("invite", invite),
            ("knock", knock),
            ("leave", leave),
        ];
        if groups.iter().any(|(_, group)| !group.0.is_empty()) {
            response.has_changes = true;
            let out = response.field("rooms");
            out.push('{');
            for (name, group) in &groups {
                group.write(out, name);
            }
            out.push('}');
        }
        Ok(())
    }
}

/// The rooms of the view, each with the user's membership.
fn rooms_in_view<'a>(
    context: &SyncContext<'a>,
) -> impl Iterator<Item = (&'a std::sync::Arc<Room>, &'a Membership)> {
    let view = context.view;
    view.rooms
        .iter()
        .filter_map(|(room_nid, room)| Some((room, view.user.room(*room_nid)?)))
}

/// Joined rooms without changes other than account data.
fn with_changed_account_data_only<'a>(context: &SyncContext<'a>) -> Vec<&'a Membership> {
    let view = context.view;
    let Some(since) = context.since_stream() else {
        return Vec::new();
    };
    view.user
        .rooms_with_data_after(since)
        .filter(|room_nid| !view.rooms.contains_key(room_nid))
        .filter_map(|room_nid| view.user.room(room_nid))
        .filter(|room| {
            room.membership == MembershipState::Join && context.filter.allows_room(&room.room_id)
        })
        .collect()
}
