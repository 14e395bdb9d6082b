//! Which members a lazy-loading client needs.
//!
//! Spec: client-server, "Lazy-loading room members".

use std::collections::HashSet;

use ruma::{OwnedUserId, UserId};

use crate::timeline::Timeline;

/// The senders of the timeline, the heroes, and the reader if the full state is returned.
pub(crate) fn required_members(
    timeline: &Timeline,
    heroes: &[&UserId],
    reader: Option<&UserId>,
) -> HashSet<OwnedUserId> {
    let senders = timeline
        .events
        .iter()
        .map(|timeline_event| timeline_event.pdu().sender().to_owned());
    senders
        .chain(heroes.iter().map(|user_id| (*user_id).to_owned()))
        .chain(reader.map(ToOwned::to_owned))
        .collect()
}
