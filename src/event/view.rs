//! Events as clients see them, written straight into text.
//!
//! Spec: client-server, "Room event format" and "Stripped state".

use std::{borrow::Cow, fmt::Write};

use ruma::EventId;
use serde_json::value::RawValue;

use crate::Pdu;

/// An event for a client.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The event; already redacted if it has been.
    pub pdu: &'a Pdu,
    /// Whether to say the room; `/sync` does not, since the room stands around the event.
    pub room_id: bool,
    /// What this server adds.
    pub unsigned: Unsigned<'a>,
}

/// What a server tells about an event without anybody's signature.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unsigned<'a> {
    /// Milliseconds since the event was sent.
    pub age_ms: Option<u64>,
    /// The transaction id, for the device that sent it.
    pub transaction_id: Option<&'a str>,
    /// The content of the state event that this one replaced, if the user may see it.
    pub prev_content: Option<&'a RawValue>,
    /// The sender of the state event that this one replaced, if the user may see it.
    pub prev_sender: Option<&'a str>,
    /// The state event that this one replaced.
    pub replaces_state: Option<&'a EventId>,
    /// The redaction that withdrew this event.
    pub redacted_because: Option<&'a Pdu>,
    /// The membership of the receiving user when the event was sent.
    pub membership: Option<&'a str>,
    /// Bundled aggregations: the value of `m.relations`.
    pub relations: Option<&'a RawValue>,
}

impl<'a> View<'a> {
    /// An event with its room and nothing added.
    pub fn of(pdu: &'a Pdu) -> Self {
        Self {
            pdu,
            room_id: true,
            unsigned: Unsigned::default(),
        }
    }

    /// Appends the event as a JSON object.
    pub fn write(&self, out: &mut String) {
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
        field(out, "type", pdu.kind());
        self.write_unsigned(out);
        out.push('}');
    }

    fn write_unsigned(&self, out: &mut String) {
        let unsigned = &self.unsigned;
        let start = out.len();
        out.push_str(",\"unsigned\":{");
        let empty = out.len();
        if let Some(age) = unsigned.age_ms {
            number(out, ",\"age\":", age);
        }
        if let Some(membership) = unsigned.membership {
            field(out, "membership", membership);
        }
        if let Some(prev_content) = unsigned.prev_content {
            raw(out, "prev_content", prev_content.get());
        }
        if let Some(prev_sender) = unsigned.prev_sender {
            field(out, "prev_sender", prev_sender);
        }
        if let Some(redaction) = unsigned.redacted_because {
            out.push_str(",\"redacted_because\":");
            View {
                pdu: redaction,
                room_id: self.room_id,
                unsigned: Unsigned::default(),
            }
            .write(out);
        }
        if let Some(replaced) = unsigned.replaces_state {
            field(out, "replaces_state", replaced.as_str());
        }
        if let Some(transaction_id) = unsigned.transaction_id {
            field(out, "transaction_id", transaction_id);
        }
        if let Some(relations) = unsigned.relations {
            raw(out, "m.relations", relations.get());
        }
        if out.len() == empty {
            out.truncate(start);
        } else {
            // Every field begins with a comma; the first has none before it.
            out.remove(empty);
            out.push('}');
        }
    }
}

/// Appends a state event as one who is not in the room may see it: in invites and knocks.
pub fn stripped(pdu: &Pdu, out: &mut String) {
    out.push_str(r#"{"content":"#);
    out.push_str(pdu.content_text());
    field(out, "sender", pdu.sender().as_str());
    field(out, "state_key", pdu.state_key().unwrap_or_default());
    field(out, "type", pdu.kind());
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

fn raw(out: &mut String, name: &str, json: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
    out.push_str(json);
}

fn number(out: &mut String, prefix: &str, value: u64) {
    out.push_str(prefix);
    // Writing to a `String` cannot fail.
    let _ = write!(out, "{value}");
}

#[cfg(test)]
mod tests;
