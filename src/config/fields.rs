//! The names of a settings struct's keys, as its `Deserialize` implementation knows them.

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor, value},
};

/// The keys of every section, by the section's name.
pub(crate) fn sections() -> [(&'static str, &'static [&'static str]); 13] {
    [
        ("client", fields::<crate::Client>()),
        ("federation", fields::<crate::Federation>()),
        ("database", fields::<crate::Database>()),
        ("registration", fields::<crate::Registration>()),
        ("sessions", fields::<crate::Sessions>()),
        ("rate_limits", fields::<crate::RateLimits>()),
        ("limits", fields::<crate::Limits>()),
        ("rooms", fields::<crate::Rooms>()),
        ("media", fields::<crate::Media>()),
        ("cache", fields::<crate::Cache>()),
        ("metrics", fields::<crate::Metrics>()),
        ("log", fields::<crate::Log>()),
        ("well_known", fields::<crate::WellKnown>()),
    ]
}

/// Every key in the order of the documentation, sections written as `section.key`.
pub(crate) fn keys() -> Vec<String> {
    let root = fields::<crate::Config>()
        .iter()
        .map(|key| (*key).to_owned());
    let sections = sections();
    let in_sections = sections
        .iter()
        .flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}.{key}")));
    root.filter(|key| !sections.iter().any(|(section, _)| section == key))
        .chain(in_sections)
        .collect()
}

/// The keys of one struct.
pub(crate) fn fields<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // The recorder always ends with an error: it is asked for names, and has no values to give.
    let _no_values = T::deserialize(Recorder(&mut fields));
    fields
}

struct Recorder<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Recorder<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(Error::custom("only the names were wanted"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
