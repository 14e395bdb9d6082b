//! Messages to the device.
//!
//! Spec: client-server, "Send-to-Device messaging".

use event::view::push_json_string;
use storage::to_device;
use types::StreamPosition;

use crate::{
    Error,
    answer::{Answer, push_events},
    streams::Stream,
    v3::Ask,
};

/// Messages in one answer at the most.
const MOST: usize = 100;

/// To-device messages.
pub(crate) struct ToDevice;

impl Stream for ToDevice {
    async fn write(&self, ask: &Ask<'_>, answer: &mut Answer) -> Result<(), Error> {
        let after = ask
            .since
            .map_or(StreamPosition(0), |since| since.to_device());
        let until = ask.look.position;
        let device_id = &ask.request.device_id;
        if !ask.watch.has_mail(device_id, after) {
            return Ok(());
        }
        let user_id = &ask.request.user_id;
        let mut db = ask.database.acquire().await?;
        let limit = MOST as i64 + 1;
        let mut messages =
            to_device::pending(&mut db, user_id, device_id, after, until, limit).await?;
        let first = messages.first().map(|(position, _)| *position);
        let last = messages.last().map(|(position, _)| *position);
        let found = first.zip(last);
        if messages.len() > MOST {
            messages.truncate(MOST);
            answer.next.to_device = messages.last().map(|(position, _)| *position);
            // How far they go beyond these is not known: at least that they do is.
            ask.watch
                .note_mail(device_id, first.map(|first| (first, until)), until);
        } else {
            ask.watch.note_mail(device_id, found, until);
        }
        if messages.is_empty() {
            return Ok(());
        }
        answer.has_news = true;
        push_events(answer.field("to_device"), &messages, |out, (_, message)| {
            out.push_str("{\"type\":");
            push_json_string(out, &message.event_type);
            out.push_str(",\"sender\":");
            push_json_string(out, message.sender.as_str());
            out.push_str(",\"content\":");
            out.push_str(&message.content);
            out.push('}');
        });
        Ok(())
    }
}
