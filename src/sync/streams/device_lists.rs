//! Device list changes.
//!
//! Spec: client-server, "Extensions to /sync" of end-to-end encryption.

use event::view::push_json_string;
use ruma::OwnedUserId;
use storage::device_lists;

use crate::{
    Error,
    context::SyncContext,
    response::{Response, push_list},
    streams::Stream,
};

/// Device list changes; an initial sync has none.
pub(crate) struct DeviceLists;

impl Stream for DeviceLists {
    async fn write(&self, context: &SyncContext<'_>, response: &mut Response) -> Result<(), Error> {
        let Some(since) = context.since_stream() else {
            return Ok(());
        };
        if !context.subscription.device_lists_changed_since(since) {
            return Ok(());
        }
        let mut db = context.database.acquire().await?;
        let user_id = &context.request.user_id;
        let changes =
            device_lists::changed_between(&mut db, user_id, since, context.view.position).await?;
        if changes.changed.is_empty() && changes.left.is_empty() {
            return Ok(());
        }
        response.has_changes = true;
        let out = response.field("device_lists");
        out.push_str("{\"changed\":[");
        push_list(out, &changes.changed, push_user);
        out.push_str("],\"left\":[");
        push_list(out, &changes.left, push_user);
        out.push_str("]}");
        Ok(())
    }
}

fn push_user(out: &mut String, user_id: &OwnedUserId) {
    push_json_string(out, user_id.as_str());
}
