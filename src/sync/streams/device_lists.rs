//! Whose devices to look at anew.
//!
//! Spec: client-server, "Extensions to /sync" of end-to-end encryption.

use event::view::push_json_string;
use ruma::OwnedUserId;
use storage::device_lists;

use crate::{
    Error,
    answer::{Answer, push_list},
    streams::Stream,
    v3::Ask,
};

/// Changes of device lists; the first answer has none.
pub(crate) struct DeviceLists;

impl Stream for DeviceLists {
    async fn write(&self, ask: &Ask<'_>, answer: &mut Answer) -> Result<(), Error> {
        let Some(since) = ask.since_stream() else {
            return Ok(());
        };
        if !ask.watch.device_lists_changed_since(since) {
            return Ok(());
        }
        let mut db = ask.database.acquire().await?;
        let user_id = &ask.request.user_id;
        let changes =
            device_lists::changed_between(&mut db, user_id, since, ask.look.position).await?;
        if changes.changed.is_empty() && changes.left.is_empty() {
            return Ok(());
        }
        answer.has_news = true;
        let out = answer.field("device_lists");
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
