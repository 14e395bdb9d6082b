//! To-device messages.
//!
//! Spec: client-server, "Send-to-Device messaging".

use event::view::push_json_string;
use storage::to_device;
use types::StreamPosition;

use crate::{
    Error,
    context::SyncContext,
    response::{Response, push_events},
    streams::Stream,
};

/// The most messages in a response.
const MAX_MESSAGES: usize = 100;

/// To-device messages.
pub(crate) struct ToDevice;

impl Stream for ToDevice {
    async fn write(&self, context: &SyncContext<'_>, response: &mut Response) -> Result<(), Error> {
        let after = context
            .since
            .map_or(StreamPosition(0), |since| since.to_device());
        let until = context.view.position;
        let device_id = &context.request.device_id;
        if !context.subscription.has_to_device(device_id, after) {
            return Ok(());
        }
        let user_id = &context.request.user_id;
        let mut db = context.database.acquire().await?;
        let limit = MAX_MESSAGES as i64 + 1;
        let mut messages =
            to_device::pending(&mut db, user_id, device_id, after, until, limit).await?;
        let first = messages.first().map(|(position, _)| *position);
        let last = messages.last().map(|(position, _)| *position);
        let found = first.zip(last);
        if messages.len() > MAX_MESSAGES {
            messages.truncate(MAX_MESSAGES);
            response.next.to_device = messages.last().map(|(position, _)| *position);
            // More are pending; the last of them is not known.
            context.subscription.record_to_device(
                device_id,
                first.map(|first| (first, until)),
                until,
            );
        } else {
            context
                .subscription
                .record_to_device(device_id, found, until);
        }
        if messages.is_empty() {
            return Ok(());
        }
        response.has_changes = true;
        push_events(
            response.field("to_device"),
            &messages,
            |out, (_, message)| {
                out.push_str("{\"type\":");
                push_json_string(out, &message.event_type);
                out.push_str(",\"sender\":");
                push_json_string(out, message.sender.as_str());
                out.push_str(",\"content\":");
                out.push_str(&message.content);
                out.push('}');
            },
        );
        Ok(())
    }
}
