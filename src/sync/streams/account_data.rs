//! Global account data.

use types::StreamPosition;

use crate::{
    Error,
    context::SyncContext,
    response::{Response, push_events, push_type_and_content},
    streams::Stream,
};

/// Global account data.
pub(crate) struct AccountData;

impl Stream for AccountData {
    async fn write(&self, context: &SyncContext<'_>, response: &mut Response) -> Result<(), Error> {
        let event_filter = &context.filter.account_data;
        let after = context.since_stream().unwrap_or(StreamPosition::START);
        let data = context.view.user.account_data(None);
        let mut entries: Vec<(&str, &str)> = data
            .filter(|(event_type, entry)| {
                entry.position > after && event_filter.allows_type(event_type)
            })
            .map(|(event_type, entry)| (event_type, &*entry.content))
            .collect();
        let default;
        if context.since.is_none() && event_filter.allows_type("m.push_rules") {
            let set = context
                .view
                .user
                .account_data(None)
                .any(|(event_type, _)| event_type == "m.push_rules");
            if !set {
                default = default_push_rules(&context.request.user_id);
                entries.extend(default.as_deref().map(|rules| ("m.push_rules", rules)));
            }
        }
        if !entries.is_empty() {
            response.has_changes = true;
            push_events(
                response.field("account_data"),
                entries,
                |out, (event_type, content)| {
                    push_type_and_content(out, event_type, content);
                },
            );
        }
        Ok(())
    }
}

/// The push rules of a user that has not changed them.
fn default_push_rules(user_id: &ruma::UserId) -> Option<String> {
    let rules = event::push::defaults(user_id);
    serde_json::to_string(&serde_json::json!({ "global": rules })).ok()
}
