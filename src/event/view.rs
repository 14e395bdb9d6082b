//! The client format of events, written directly as JSON text.
//!
//! Spec: client-server, "Room event format" and "Stripped state".

use std::{borrow::Cow, fmt::Write};

use crate::Pdu;

/// The types of the events in stripped state, besides member events.
///
/// Spec: client-server, "Stripped state".
pub const STRIPPED_STATE_TYPES: [&str; 7] = [
    "m.room.create",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.name",
    "m.room.topic",
    "m.room.encryption",
];

/// An event for a client.
#[derive(Clone, Copy, Debug)]
pub struct ClientEvent<'a> {
    /// The event; already redacted if it has been.
    pub pdu: &'a Pdu,
    /// Whether to include `room_id`; `/sync` leaves it out.
    pub room_id: bool,
}

/// The part of `unsigned` that is the same for all readers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Common<'a> {
    /// The state event that this one replaced.
    pub replaced: Option<&'a Pdu>,
    /// The redaction that withdrew this event.
    pub redacted_because: Option<&'a Pdu>,
}

/// The part of `unsigned` that depends on the reader.
#[derive(Clone, Copy, Debug)]
pub struct PerReader<'a> {
    /// Milliseconds since the event was sent.
    pub age_ms: u64,
    /// The membership of the receiving user when the event was sent.
    pub membership: Option<&'a str>,
    /// The transaction id, for the device that sent it.
    pub transaction_id: Option<&'a str>,
    /// The aggregations of the events that relate to it: a JSON object.
    pub relations: Option<&'a str>,
}

impl<'a> ClientEvent<'a> {
    /// An event with its room.
    pub fn of(pdu: &'a Pdu) -> Self {
        Self { pdu, room_id: true }
    }

    /// Appends the event as a JSON object without `unsigned`.
    pub fn write(&self, out: &mut String) {
        self.write_fields(out);
        out.push('}');
    }

    /// Appends the event as a JSON object with `unsigned`.
    pub fn write_with(&self, common: Common<'_>, per_reader: PerReader<'_>, out: &mut String) {
        self.write_prefix(common, out);
        per_reader.write_unsigned_end(out);
    }

    /// Appends the part that is the same for all readers; [`PerReader::write_unsigned_end`] completes it.
    pub fn write_prefix(&self, common: Common<'_>, out: &mut String) {
        self.write_fields(out);
        common.write_unsigned_start(self.room_id, out);
    }

    fn write_fields(&self, out: &mut String) {
        let pdu = self.pdu;
        out.reserve(pdu.content_text().len() + 320);
        out.push_str(r#"{"content":"#);
        out.push_str(&content(pdu));
        field(out, "event_id", pdu.event_id().as_str());
        number(
            out,
            ",\"origin_server_ts\":",
            pdu.origin_server_ts().0.into(),
        );
        // Room versions since 11 keep it in the content only, where older clients do not look.
        if let Some(redacts) = pdu.redacts() {
            field(out, "redacts", redacts.as_str());
        }
        if self.room_id {
            field(out, "room_id", pdu.room_id().as_str());
        }
        field(out, "sender", pdu.sender().as_str());
        if let Some(state_key) = pdu.state_key() {
            field(out, "state_key", state_key);
        }
        field(out, "type", pdu.event_type());
    }
}

impl Common<'_> {
    /// Begins `unsigned` behind the last field of an event; [`PerReader::write_unsigned_end`] completes both.
    pub fn write_unsigned_start(&self, room_id: bool, out: &mut String) {
        out.push_str(",\"unsigned\":{");
        if let Some(replaced) = self.replaced {
            out.push_str("\"prev_content\":");
            out.push_str(replaced.content_text());
            field(out, "prev_sender", replaced.sender().as_str());
            field(out, "replaces_state", replaced.event_id().as_str());
            out.push(',');
        }
        if let Some(pdu) = self.redacted_because {
            out.push_str("\"redacted_because\":");
            ClientEvent { pdu, room_id }.write(out);
            out.push(',');
        }
    }
}

impl PerReader<'_> {
    /// The age of an event, and nothing else.
    pub fn age(pdu: &Pdu, now_ms: u64) -> Self {
        let sent: u64 = pdu.origin_server_ts().0.into();
        Self {
            age_ms: now_ms.saturating_sub(sent),
            membership: None,
            transaction_id: None,
            relations: None,
        }
    }

    /// Completes `unsigned` and the event.
    pub fn write_unsigned_end(&self, out: &mut String) {
        number(out, "\"age\":", self.age_ms);
        if let Some(relations) = self.relations {
            out.push_str(",\"m.relations\":");
            out.push_str(relations);
        }
        if let Some(membership) = self.membership {
            field(out, "membership", membership);
        }
        if let Some(transaction_id) = self.transaction_id {
            field(out, "transaction_id", transaction_id);
        }
        out.push_str("}}");
    }
}

/// Appends a state event in stripped form, as in invites and knocks.
pub fn stripped(pdu: &Pdu, out: &mut String) {
    out.push_str(r#"{"content":"#);
    out.push_str(pdu.content_text());
    field(out, "sender", pdu.sender().as_str());
    field(out, "state_key", pdu.state_key().unwrap_or_default());
    field(out, "type", pdu.event_type());
    out.push('}');
}

/// Appends a text as a JSON string.
pub fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    if text
        .bytes()
        .all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
    {
        out.push_str(text);
    } else {
        escape(out, text);
    }
    out.push('"');
}

fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' => {
                const HEX: [char; 16] = [
                    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
                ];
                let code = character as usize;
                out.push_str("\\u00");
                out.extend(HEX.get(code >> 4));
                out.extend(HEX.get(code & 0xf));
            }
            other => out.push(other),
        }
    }
}

/// The content, with `redacts` added to redactions of room versions before 11, where newer
/// clients look for it.
fn content(pdu: &Pdu) -> Cow<'_, str> {
    let text = pdu.content_text();
    let Some(redacts) = pdu.redacts() else {
        return Cow::Borrowed(text);
    };
    let Ok(mut object) = serde_json::from_str::<serde_json::Map<_, _>>(text) else {
        return Cow::Borrowed(text);
    };
    if object.get("redacts").and_then(|value| value.as_str()) == Some(redacts.as_str()) {
        return Cow::Borrowed(text);
    }
    object.insert("redacts".to_owned(), redacts.as_str().into());
    serde_json::to_string(&object).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
    push_json_string(out, value);
}

fn number(out: &mut String, prefix: &str, value: u64) {
    out.push_str(prefix);
    // Writing to a `String` cannot fail.
    let _ = write!(out, "{value}");
}

#[cfg(test)]
mod tests;
