//! Rooms: those that the user is in, is invited to, knocks at, or has left.

mod ephemeral;
mod gather;
mod invited;
mod notifications;
mod section;

use live::Room;
use ruma::{OwnedRoomId, events::room::member::MembershipState};
use storage::memberships::Membership;

use self::{gather::gather, section::Section};
use crate::{
    Error,
    answer::{Answer, push_field},
    streams::Stream,
    unread,
    v3::Ask,
};

/// Everything that belongs to rooms.
pub(crate) struct Rooms;

/// The rooms of one group, each with its text.
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
    async fn write(&self, ask: &Ask<'_>, answer: &mut Answer) -> Result<(), Error> {
        let (mut join, mut invite) = (Group::default(), Group::default());
        let (mut knock, mut leave) = (Group::default(), Group::default());
        for (room, membership) in looked_at(ask) {
            match membership.membership {
                MembershipState::Invite => {
                    invite.add(&membership.room_id, invited::invite(ask, room, membership));
                }
                MembershipState::Knock => {
                    knock.add(&membership.room_id, invited::knock(ask, room, membership));
                }
                _ => {}
            }
        }
        let sections = gather(ask).await?;
        let rooms = sections
            .iter()
            .map(|section| (section.room, section.membership));
        let unread = unread::count(ask, rooms).await?;
        for section in sections {
            let Section { membership, .. } = &section;
            let room_id = &membership.room_id;
            if membership.membership == MembershipState::Join {
                let unread = unread.get(&membership.room_nid);
                join.add(room_id, section.joined(ask, unread.map(|tally| &**tally)));
            } else {
                leave.add(room_id, Some(section.left(ask)));
            }
        }
        for membership in with_changed_data_only(ask) {
            join.add(&membership.room_id, section::data_only(ask, membership));
        }
        let groups = [
            ("join", join),
            ("invite", invite),
            ("knock", knock),
            ("leave", leave),
        ];
        if groups.iter().any(|(_, group)| !group.0.is_empty()) {
            answer.has_news = true;
            let out = answer.field("rooms");
            out.push('{');
            for (name, group) in &groups {
                group.write(out, name);
            }
            out.push('}');
        }
        Ok(())
    }
}

/// The rooms that were looked at, each with what the user is to it.
fn looked_at<'a>(
    ask: &Ask<'a>,
) -> impl Iterator<Item = (&'a std::sync::Arc<Room>, &'a Membership)> {
    let look = ask.look;
    look.rooms
        .iter()
        .filter_map(|(room_nid, room)| Some((room, look.user.room(*room_nid)?)))
}

/// Joined rooms in which nothing happened, but whose private data changed.
fn with_changed_data_only<'a>(ask: &Ask<'a>) -> Vec<&'a Membership> {
    let look = ask.look;
    let Some(since) = ask.since_stream() else {
        return Vec::new();
    };
    look.user
        .rooms_with_data_after(since)
        .filter(|room_nid| !look.rooms.contains_key(room_nid))
        .filter_map(|room_nid| look.user.room(room_nid))
        .filter(|room| room.membership == MembershipState::Join && ask.filter.room(&room.room_id))
        .collect()
}
