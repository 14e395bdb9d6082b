//! How many one-time keys the device has left; in every answer.
//!
//! Spec: client-server, "Extensions to /sync" of end-to-end encryption.

use event::view::push_json_string;

use crate::{
    Error,
    answer::{Answer, push_field, push_list},
    streams::Stream,
    v3::Ask,
};

/// Counts of keys.
pub(crate) struct KeyCounts;

impl Stream for KeyCounts {
    async fn write(&self, ask: &Ask<'_>, answer: &mut Answer) -> Result<(), Error> {
        let device_id = &ask.request.device_id;
        let counts = ask.watch.key_counts(device_id).await?;
        let since = ask.since_stream().unwrap_or_default();
        answer.has_news |= ask.watch.key_counts_changed_since(device_id, since);
        let out = answer.field("device_one_time_keys_count");
        out.push('{');
        for (algorithm, count) in &counts.one_time {
            push_field(out, algorithm);
            out.push_str(&count.to_string());
        }
        out.push('}');
        let out = answer.field("device_unused_fallback_key_types");
        out.push('[');
        push_list(out, &counts.unused_fallback, |out, algorithm| {
            push_json_string(out, algorithm);
        });
        out.push(']');
        Ok(())
    }
}
