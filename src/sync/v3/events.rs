//! The lists of events, and the events without an id, of which a response is made.

use event::json::JsonWriter;

/// Writes `{"events":[…]}`.
pub(super) fn write_events<T>(
    json: &mut JsonWriter,
    items: impl IntoIterator<Item = T>,
    write: impl FnMut(&mut JsonWriter, T),
) {
    json.object(|json| json.field("events").array(items, write));
}

/// Writes account data as events.
pub(super) fn write_account_data<'a>(
    json: &mut JsonWriter,
    data: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    write_events(json, data, |json, (event_type, content)| {
        write_event(json, event_type, |json| json.raw(content));
    });
}

/// Writes `{"type":…,"content":…}`.
pub(crate) fn write_event(
    json: &mut JsonWriter,
    event_type: &str,
    content: impl FnOnce(&mut JsonWriter),
) {
    json.object(|json| {
        json.field("type").string(event_type);
        content(json.field("content"));
    });
}
