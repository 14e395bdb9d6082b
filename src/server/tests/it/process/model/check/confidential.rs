//! Nobody is shown what the room's history visibility hides.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Subject;
use crate::process::model::{
    history::History,
    seen::{Seen, Shown},
    syncer::Syncer,
};

/// Checks all that a client was shown since the last check.
pub(super) fn check(histories: &BTreeMap<String, History>, syncer: &mut Syncer<'_>) {
    let Seen(shown) = std::mem::take(&mut syncer.seen);
    for shown in shown {
        let history = &histories[&shown.room_id];
        let subject = Subject::new(syncer.world, history, syncer);
        check_event(&subject, &shown);
    }
}

fn check_event(subject: &Subject<'_>, shown: &Shown) {
    let (history, user_id) = (subject.history, subject.user_id);
    let Some(index) = history.index(&shown.event_id) else {
        subject.fail(&format!("an event that never happened is shown: {shown:?}"));
    };
    let until = match &shown.until {
        None => history.last(),
        Some(membership) => history.known_index(membership),
    };
    let is_allowed = |index: usize| {
        history.may_see(user_id, index, until)
            || history.was_state_for(user_id, index, until)
            || history.is_open_after(index)
    };
    // What redacts an event is shown with it, whoever may see it: the event is not as it was.
    if !is_allowed(index) && !shown.is_inner {
        subject.fail(&format!("event {index} is hidden, but shown: {shown:?}"));
    }
    if let Some(membership) = &shown.membership {
        let expected = history.membership(user_id, Some(index)).to_owned();
        subject.require(
            &format!("unsigned.membership of event {index}"),
            membership,
            &expected,
        );
    }
    let replaced = history.replaced(index);
    if let (Some(shown), Some(replaced)) = (&shown.replaced, replaced) {
        let event = &history.events[replaced];
        let is_redacted = event["unsigned"].get("redacted_because").is_some();
        let content: Value = serde_json::from_str(shown).unwrap();
        if !is_redacted {
            subject.require(
                &format!("unsigned.prev_content of event {index}"),
                &content,
                &event["content"],
            );
        }
    }
}
