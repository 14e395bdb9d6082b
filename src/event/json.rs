//! Writes JSON text piece by piece, so that events are spliced in as text and nothing is parsed.

use crate::view::push_json_string;

/// JSON text under construction; commas come in by themselves.
#[derive(Debug, Default)]
pub struct JsonWriter(String);

impl JsonWriter {
    /// An empty text; one value is to be written.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Writes an object: `write` writes its fields.
    pub fn object(&mut self, write: impl FnOnce(&mut Self)) {
        self.separate();
        self.0.push('{');
        write(self);
        self.0.push('}');
    }

    /// Begins a field of an object; its value is to be written next.
    pub fn field(&mut self, name: &str) -> &mut Self {
        self.string(name);
        self.0.push(':');
        self
    }

    /// Writes an array: `write` writes each item.
    pub fn array<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.separate();
        self.0.push('[');
        for item in items {
            write(self, item);
        }
        self.0.push(']');
    }

    /// Writes a string.
    pub fn string(&mut self, text: &str) {
        self.separate();
        push_json_string(&mut self.0, text);
    }

    /// Writes a number or a boolean.
    pub fn literal(&mut self, value: impl Literal) {
        self.separate();
        self.0.push_str(&value.to_string());
    }

    /// Writes a value that is JSON text already.
    pub fn raw(&mut self, json: &str) {
        self.separate();
        self.0.push_str(json);
    }

    /// Writes a value that `write` appends as JSON text.
    pub fn raw_with(&mut self, write: impl FnOnce(&mut String)) {
        self.separate();
        write(&mut self.0);
    }

    /// Begins a value, after a comma if another one of the same list is before it.
    fn separate(&mut self) {
        if !matches!(self.0.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.0.push(',');
        }
    }
}

/// A value whose text is the same in JSON.
pub trait Literal: ToString {}

impl Literal for bool {}
impl Literal for u64 {}
impl Literal for i64 {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_separated_by_commas() {
        let mut json = JsonWriter::new();
        json.object(|json| {
            json.field("empty").object(|_| {});
            json.field("none").array([0_u64; 0], JsonWriter::literal);
            json.field("list")
                .array(["a[", "b{", "c:"], JsonWriter::string);
            json.field("nested").array([1, 2], |json, n: u64| {
                json.object(|json| json.field("n").literal(n));
            });
            json.field("yes").literal(true);
            json.field("raw").raw(r#"{"a":[]}"#);
            json.field("appended").raw_with(|out| out.push_str("[1]"));
        });
        assert_eq!(
            json.into_string(),
            r#"{"empty":{},"none":[],"list":["a[","b{","c:"],"nested":[{"n":1},{"n":2}],"yes":true,"raw":{"a":[]},"appended":[1]}"#
        );
    }

    #[test]
    fn names_and_strings_are_escaped() {
        let mut json = JsonWriter::new();
        json.object(|json| json.field("a\"b").string("\n"));
        assert_eq!(json.into_string(), r#"{"a\"b":"\n"}"#);
    }
}
