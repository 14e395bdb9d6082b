//! An event's JSON as a tree, from which hashes, signatures and redactions are made.
//!
//! Spec: appendices, "Canonical JSON"; rooms v1 and v6, "Canonical JSON". Room versions before 6
//! take events with numbers that have no canonical form: floats, and integers beyond ±(2^53 - 1).
//! Such a number keeps its text. In the tree, whose numbers are canonical ones, it stands as a
//! string that begins with a marker. What a double cannot hold is refused in all versions.

use std::borrow::Cow;

use base64::{
    Engine,
    alphabet::{Alphabet, STANDARD, URL_SAFE},
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};
use ring::digest::{SHA256, digest};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, canonical_json, room_version_rules::RedactionRules,
};

use crate::{FormatError, RoomVersion, Signer, format};

/// The greatest integer that canonical JSON knows.
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Fields that are not part of an event's content hash.
const NOT_IN_CONTENT_HASH: &[&str] = &["hashes", "signatures", "unsigned"];
/// Fields that are not part of what is signed, nor of the reference hash.
const NOT_SIGNED: &[&str] = &["signatures", "unsigned"];

/// An event's JSON as a tree.
#[derive(Clone, Debug)]
pub(crate) struct EventJson {
    object: CanonicalJsonObject,
    /// What the strings begin with that stand for numbers; `None` if there are none.
    marker: Option<String>,
}

impl EventJson {
    /// Parses an event from outside; `version` says whether its numbers must be canonical.
    pub(crate) fn parse(json: &str, version: &RoomVersion) -> Result<Self, FormatError> {
        if version.authorization().strict_canonical_json {
            format::canonical_object(json).map(Self::from)
        } else {
            Self::parse_any(json)
        }
    }

    /// Parses an event whose numbers need not be canonical.
    pub(crate) fn parse_any(json: &str) -> Result<Self, FormatError> {
        format::limit("text", json.len(), format::MAX_TEXT_BYTES)?;
        let (json, marker) = mark_numbers(json)?;
        // The markers do not count as part of the event.
        let object = format::object(&json)?;
        Ok(Self { object, marker })
    }

    /// The tree, in which numbers without a canonical form are strings.
    pub(crate) fn object(&self) -> &CanonicalJsonObject {
        &self.object
    }

    /// The tree, to be changed.
    pub(crate) fn object_mut(&mut self) -> &mut CanonicalJsonObject {
        &mut self.object
    }

    /// The text of a value if it is a natural number, however large.
    pub(crate) fn natural(&self, field: &str) -> Option<Cow<'_, str>> {
        let text = match self.object.get(field)? {
            CanonicalJsonValue::Integer(number) => Cow::Owned(number.to_string()),
            CanonicalJsonValue::String(text) => {
                Cow::Borrowed(text.strip_prefix(self.marker.as_deref()?)?)
            }
            _ => return None,
        };
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(text)
    }

    /// The canonical text.
    pub(crate) fn text(&self) -> Result<String, FormatError> {
        let text = serde_json::to_string(&self.object).map_err(FormatError::malformed)?;
        Ok(self.unmark(text))
    }

    /// Removes everything that the room version does not keep of a redacted event.
    pub(crate) fn redact(&mut self, rules: &RedactionRules) -> Result<(), FormatError> {
        canonical_json::redact_in_place(&mut self.object, rules, None)
            .map_err(FormatError::malformed)
    }

    /// The hash of the whole event, which it carries as `hashes.sha256`, in unpadded base64.
    pub(crate) fn content_hash(&self) -> Result<String, FormatError> {
        Ok(hash(
            &self.text_without(NOT_IN_CONTENT_HASH, None)?,
            &STANDARD,
        ))
    }

    /// The hash of the redacted event: since room version 3 what its id is made of, in earlier
    /// ones what other events refer to it by, beside the id.
    pub(crate) fn reference_hash(&self, version: &RoomVersion) -> Result<String, FormatError> {
        let alphabet = if version.has_url_safe_hashes() {
            &URL_SAFE
        } else {
            &STANDARD
        };
        Ok(hash(&self.signed_text(version)?, alphabet))
    }

    /// What servers sign of an event.
    pub(crate) fn signed_text(&self, version: &RoomVersion) -> Result<String, FormatError> {
        self.text_without(NOT_SIGNED, Some(version.redaction()))
    }

    /// Adds a server's signature.
    pub(crate) fn sign(
        &mut self,
        version: &RoomVersion,
        signer: &Signer,
    ) -> Result<(), FormatError> {
        let signature = signer.sign_text(&self.signed_text(version)?);
        let signatures = child(&mut self.object, "signatures")?;
        let of_server = child(signatures, signer.server_name().as_str())?;
        let key_id = signer.key_id().to_string();
        of_server.insert(key_id, CanonicalJsonValue::String(signature));
        Ok(())
    }

    fn text_without(
        &self,
        fields: &[&str],
        redaction: Option<&RedactionRules>,
    ) -> Result<String, FormatError> {
        let mut serializer = canonical_json::RedactingSerializer::new();
        if let Some(rules) = redaction {
            serializer = serializer.rules(rules);
        }
        let text = serializer
            .custom_redacted_root_fields(fields)
            .serialize(&self.object)
            .map_err(FormatError::malformed)?;
        Ok(self.unmark(text))
    }

    /// Puts the numbers back.
    fn unmark(&self, text: String) -> String {
        let Some(marker) = &self.marker else {
            return text;
        };
        let marked = format!("\"{marker}");
        let mut parts = text.split(&marked);
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (number, rest) = part.split_once('"').unwrap_or((part, ""));
            out.push_str(number);
            out.push_str(rest);
        }
        out
    }
}

impl From<CanonicalJsonObject> for EventJson {
    fn from(object: CanonicalJsonObject) -> Self {
        Self {
            object,
            marker: None,
        }
    }
}

/// The object in a field, made if it is not there.
fn child<'a>(
    object: &'a mut CanonicalJsonObject,
    field: &str,
) -> Result<&'a mut CanonicalJsonObject, FormatError> {
    let empty = || CanonicalJsonValue::Object(CanonicalJsonObject::new());
    let child = object.entry(field.to_owned()).or_insert_with(empty);
    child
        .as_object_mut()
        .ok_or_else(|| FormatError::malformed(format_args!("`{field}` is not an object")))
}

/// The text with each number that has no canonical form cut off at the decimal point, as power
/// levels are read; `None` if there is none. One that canonical JSON cannot hold then counts as the
/// greatest or least that it can.
///
/// Spec: rooms v1, "`m.room.power_levels` events accept values as floats".
pub(crate) fn truncate_numbers(json: &str) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    let mut numbers = Numbers { json, at: 0 };
    while let Some((start, number)) = numbers.next() {
        let Some(value) = number.parse::<f64>().ok().filter(|_| !is_canonical(number)) else {
            continue;
        };
        out.push_str(json.get(copied..start)?);
        let greatest = MAX_INTEGER as f64;
        out.push_str(&(value.clamp(-greatest, greatest) as i64).to_string());
        copied = start + number.len();
    }
    out.push_str(json.get(copied..)?);
    (copied > 0).then_some(out)
}

/// The text with each number that has no canonical form as a string behind a marker, and the
/// marker if there is one.
fn mark_numbers(json: &str) -> Result<(Cow<'_, str>, Option<String>), FormatError> {
    let mut marked = String::new();
    let mut marker: Option<String> = None;
    let mut copied = 0;
    let mut numbers = Numbers { json, at: 0 };
    while let Some((start, number)) = numbers.next() {
        if is_canonical(number) {
            continue;
        }
        // What is between the quotation marks of a string is not parsed as a number any more. Few
        // parsers take a number beyond a double, and those of clients must not stumble on it.
        serde_json::from_str::<serde_json::Value>(number)?;
        // No text can contain its own hash.
        let marker = marker.get_or_insert_with(|| hash(json, &URL_SAFE));
        marked.push_str(json.get(copied..start).unwrap_or_default());
        for part in ["\"", marker, number, "\""] {
            marked.push_str(part);
        }
        copied = start + number.len();
    }
    if marker.is_none() {
        return Ok((Cow::Borrowed(json), None));
    }
    marked.push_str(json.get(copied..).unwrap_or_default());
    Ok((Cow::Owned(marked), marker))
}

/// The numbers of a JSON text with where they begin; of another text, whatever looks like them.
struct Numbers<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Numbers<'a> {
    fn next(&mut self) -> Option<(usize, &'a str)> {
        let mut in_string = false;
        let bytes = self.json.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'\\' if in_string => self.at += 1,
                b'"' => in_string = !in_string,
                b'-' | b'0'..=b'9' if !in_string => {
                    let start = self.at;
                    let rest = self.json.get(start..)?;
                    let is_part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
                    let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                    self.at += end;
                    return Some((start, rest.get(..end)?));
                }
                _ => {}
            }
            self.at += 1;
        }
        None
    }
}

/// Whether canonical JSON knows the number; what is no number at all is left to the parser.
fn is_canonical(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    let is_negative_zero = digits.len() < number.len() && digits.starts_with('0');
    let is_integer = digits.bytes().all(|byte| byte.is_ascii_digit());
    let fits = || {
        digits
            .parse()
            .is_ok_and(|number: u64| number <= MAX_INTEGER)
    };
    digits.is_empty() || (is_integer && !is_negative_zero && fits())
}

fn hash(text: &str, alphabet: &Alphabet) -> String {
    GeneralPurpose::new(alphabet, NO_PAD).encode(digest(&SHA256, text.as_bytes()))
}

#[cfg(test)]
mod tests;
