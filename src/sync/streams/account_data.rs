//! The user's private data that belongs to no room.

use crate::{
    Error,
    answer::{Answer, push_events, push_plain_event},
    streams::Stream,
    timeline::BEGINNING,
    v3::Ask,
};

/// Global account data.
pub(crate) struct AccountData;

impl Stream for AccountData {
    async fn write(&self, ask: &Ask<'_>, answer: &mut Answer) -> Result<(), Error> {
        let rules = &ask.filter.account_data;
        let after = ask.since_stream().unwrap_or(BEGINNING);
        let data = ask.look.user.account_data(None);
        let mut told: Vec<(&str, &str)> = data
            .filter(|(kind, datum)| datum.position > after && rules.kind(kind))
            .map(|(kind, datum)| (kind, &*datum.content))
            .collect();
        let default;
        if ask.since.is_none() && rules.kind("m.push_rules") {
            let set = ask
                .look
                .user
                .account_data(None)
                .any(|(kind, _)| kind == "m.push_rules");
            if !set {
                default = default_push_rules(&ask.request.user_id);
                told.extend(default.as_deref().map(|rules| ("m.push_rules", rules)));
            }
        }
        if !told.is_empty() {
            answer.has_news = true;
            push_events(
                answer.field("account_data"),
                told,
                |out, (kind, content)| {
                    push_plain_event(out, kind, content);
                },
            );
        }
        Ok(())
    }
}

/// The rules of somebody who never changed them.
fn default_push_rules(user_id: &ruma::UserId) -> Option<String> {
    let rules = event::push::defaults(user_id);
    serde_json::to_string(&serde_json::json!({ "global": rules })).ok()
}
