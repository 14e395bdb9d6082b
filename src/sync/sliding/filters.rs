//! The filters of a list.
//!
//! Spec: MSC4186, "`SlidingRoomFilter`".

use std::collections::HashSet;

use live::{Live, User};
use ruma::{OwnedRoomId, RoomId, events::room::member::MembershipState};
use serde::{Deserialize, de::IgnoredAny};
use storage::{memberships::Membership, room_overviews::RoomOverview};

use super::request::ListFilters;
use crate::Error;

/// A filter with what was looked up for it.
pub(super) struct Filter<'a> {
    filters: &'a ListFilters,
    /// The children of the spaces that it names.
    children: Option<HashSet<OwnedRoomId>>,
}

impl<'a> Filter<'a> {
    /// Looks up the children of spaces, if the filter names any.
    pub(super) async fn prepare(
        live: &Live,
        user: &User,
        filters: &'a ListFilters,
    ) -> Result<Self, Error> {
        let mut children = None;
        if let Some(spaces) = &filters.spaces {
            let mut found = HashSet::new();
            for space in spaces {
                found.extend(children_of(live, user, space).await?);
            }
            children = Some(found);
        }
        Ok(Self { filters, children })
    }

    /// Whether a room is in the list.
    pub(super) fn allows(
        &self,
        user: &User,
        room: &Membership,
        overview: Option<&RoomOverview>,
    ) -> bool {
        let filters = self.filters;
        let is = |wanted: Option<bool>, value: bool| wanted.is_none_or(|wanted| wanted == value);
        let room_type = overview.and_then(|overview| overview.room_type.as_deref());
        let is_of = |types: &[Option<String>]| {
            let mut types = types.iter();
            types.any(|named| named.as_deref() == room_type)
        };
        is(filters.is_dm, user.is_direct(&room.room_id))
            && is(
                filters.is_encrypted,
                overview.is_some_and(|overview| overview.is_encrypted),
            )
            && is(
                filters.is_invited,
                room.membership == MembershipState::Invite,
            )
            && filters.room_types.as_deref().is_none_or(is_of)
            && !is_of(&filters.not_room_types)
            && self
                .children
                .as_ref()
                .is_none_or(|children| children.contains(&room.room_id))
            && filters
                .tags
                .as_deref()
                .is_none_or(|tags| user.has_tag(room.room_nid, tags))
            && (filters.not_tags.is_empty() || !user.has_tag(room.room_nid, &filters.not_tags))
    }
}

/// The children of a space that the user is joined to; none of other rooms.
async fn children_of(live: &Live, user: &User, space: &RoomId) -> Result<Vec<OwnedRoomId>, Error> {
    #[derive(Deserialize)]
    struct Content {
        via: Option<IgnoredAny>,
    }
    let is_joined = |room: &Membership| room.membership == MembershipState::Join;
    if !user.room_by_id(space).is_some_and(is_joined) {
        return Ok(Vec::new());
    }
    let Some(state) = live.room_state(space).await? else {
        return Ok(Vec::new());
    };
    let events: Vec<_> = state.of_type("m.space.child").map(|(_, nid)| nid).collect();
    let events = live.events(events).await?;
    let children = events.values().filter_map(|pdu| {
        // Without servers it is not a child any more.
        let content: Content = pdu.content_as().ok()?;
        content.via?;
        pdu.state_key()?.try_into().ok()
    });
    Ok(children.collect())
}
