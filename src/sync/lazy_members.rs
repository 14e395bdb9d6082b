//! Which members a client needs when it does not want all of them.
//!
//! Spec: client-server, "Lazy-loading room members".

use std::collections::HashSet;

use ruma::{OwnedUserId, UserId};

use crate::timeline::Timeline;

/// The senders of the timeline, the heroes, and the reader where the whole state is told.
pub(crate) fn needed(
    timeline: &Timeline,
    heroes: &[&UserId],
    reader: Option<&UserId>,
) -> HashSet<OwnedUserId> {
    let senders = timeline
        .moments
        .iter()
        .map(|moment| moment.pdu().sender().to_owned());
    senders
        .chain(heroes.iter().map(|user_id| (*user_id).to_owned()))
        .chain(reader.map(ToOwned::to_owned))
        .collect()
}
