//! The response, written as JSON text without an intermediate tree.

use event::view::push_json_string;
use types::SyncToken;

/// The response under construction.
#[derive(Debug)]
pub(crate) struct Response {
    text: String,
    /// Whether there are changes that end the wait.
    pub(crate) has_changes: bool,
    /// The `next_batch` token.
    pub(crate) next: SyncToken,
}

impl Response {
    pub(crate) fn new(next: SyncToken) -> Self {
        Self {
            text: String::from("{"),
            has_changes: false,
            next,
        }
    }

    /// Begins a field of the outermost object; its value is to be appended.
    pub(crate) fn field(&mut self, name: &str) -> &mut String {
        push_field(&mut self.text, name);
        &mut self.text
    }

    pub(crate) fn finish(mut self) -> String {
        let next = self.next.to_string();
        push_json_string(self.field("next_batch"), &next);
        self.text.push('}');
        self.text
    }
}

/// Begins a field of the object at the end of the text, after a comma if need be.
pub(crate) fn push_field(out: &mut String, name: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    push_json_string(out, name);
    out.push(':');
}

/// Appends what each item writes, with commas between.
pub(crate) fn push_list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(out, item);
    }
}

/// Appends `{"events":[…]}`.
pub(crate) fn push_events<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    write: impl FnMut(&mut String, T),
) {
    out.push_str("{\"events\":[");
    push_list(out, items, write);
    out.push_str("]}");
}

/// Appends `{"type":…,"content":…}`.
pub(crate) fn push_type_and_content(out: &mut String, event_type: &str, content: &str) {
    out.push_str("{\"type\":");
    push_json_string(out, event_type);
    out.push_str(",\"content\":");
    out.push_str(content);
    out.push('}');
}
