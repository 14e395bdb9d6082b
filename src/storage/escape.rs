//! Text of events that PostgreSQL cannot hold as it is.
//!
//! A foreign event may have the character U+0000 in its type, its state key or its sender; it is
//! part of the room all the same. Columns hold such text escaped: `\0` for it and `\\` for the
//! backslash. (The JSON of an event escapes it already.)

use std::borrow::Cow;

/// The text as columns hold it.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if text.contains(['\\', '\0']) {
        Cow::Owned(text.replace('\\', "\\\\").replace('\0', "\\0"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Reads what [`escape`] has written.
pub(crate) fn unescape(text: String) -> String {
    if !text.contains('\\') {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        plain.push(match char {
            '\\' if chars.next() == Some('0') => '\0',
            char => char,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{escape, unescape};

    #[test]
    fn escaped_text_survives_the_round_trip_and_contains_no_nul() {
        for text in [
            "",
            "m.room.member",
            "a\0b",
            "\\",
            "\\0",
            "\\\0",
            "\0\\0\\\\",
            "ü\0",
        ] {
            let escaped = escape(text).into_owned();
            assert!(!escaped.contains('\0'), "{text:?}");
            assert_eq!(unescape(escaped), text, "{text:?}");
        }
        assert_ne!(escape("\0"), escape("\\0"));
    }
}
