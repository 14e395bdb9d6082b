//! One-time key counts of the device; in every response.
//!
//! Spec: client-server, "Extensions to /sync" of end-to-end encryption.

use event::view::push_json_string;

use crate::{
    Error,
    context::SyncContext,
    response::{Response, push_field, push_list},
    streams::Stream,
};

/// Counts of keys.
pub(crate) struct KeyCounts;

impl Stream for KeyCounts {
    async fn write(&self, context: &SyncContext<'_>, response: &mut Response) -> Result<(), Error> {
        let device_id = &context.request.device_id;
        let counts = context.subscription.key_counts(device_id).await?;
        let since = context.since_stream().unwrap_or_default();
        response.has_changes |= context
            .subscription
            .key_counts_changed_since(device_id, since);
        let out = response.field("device_one_time_keys_count");
        out.push('{');
        for (algorithm, count) in &counts.one_time {
            push_field(out, algorithm);
            out.push_str(&count.to_string());
        }
        out.push('}');
        let out = response.field("device_unused_fallback_key_types");
        out.push('[');
        push_list(out, &counts.unused_fallback, |out, algorithm| {
            push_json_string(out, algorithm);
        });
        out.push(']');
        Ok(())
    }
}
