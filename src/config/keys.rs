//! The names of a settings struct's keys, as its `Deserialize` implementation knows them.

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor, value},
};

/// The keys of every section, by the section's name.
pub(crate) fn sections() -> [(&'static str, &'static [&'static str]); 18] {
    [
        ("client", of::<crate::Client>()),
        ("federation", of::<crate::Federation>()),
        ("database", of::<crate::Database>()),
        ("registration", of::<crate::Registration>()),
        ("sessions", of::<crate::Sessions>()),
        ("rate_limits", of::<crate::RateLimits>()),
        ("limits", of::<crate::Limits>()),
        ("rooms", of::<crate::Rooms>()),
        ("user_directory", of::<crate::UserDirectory>()),
        ("search", of::<crate::Search>()),
        ("presence", of::<crate::Presence>()),
        ("turn", of::<crate::Turn>()),
        ("push", of::<crate::Push>()),
        ("media", of::<crate::Media>()),
        ("cache", of::<crate::Cache>()),
        ("metrics", of::<crate::Metrics>()),
        ("log", of::<crate::Log>()),
        ("well_known", of::<crate::WellKnown>()),
    ]
}

/// Every key in the order of the documentation, sections written as `section.key`.
pub(crate) fn all() -> Vec<String> {
    let root = of::<crate::Config>().iter().map(|key| (*key).to_owned());
    let sections = sections();
    let in_sections = sections
        .iter()
        .flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}.{key}")));
    root.filter(|key| !sections.iter().any(|(section, _)| section == key))
        .chain(in_sections)
        .collect()
}

/// The keys of one struct.
pub(crate) fn of<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
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
