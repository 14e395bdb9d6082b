//! Durations, written as text such as `"5m"`; for `#[serde(with = "…")]`.

use std::{fmt, time::Duration};

use serde::{Deserializer, Serializer, de};

const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

pub(crate) fn serialize<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let seconds = duration.as_secs();
    let (unit, factor) = UNITS
        .into_iter()
        .find(|(_, factor)| seconds >= *factor && seconds.is_multiple_of(*factor))
        .unwrap_or(("s", 1));
    serializer.collect_str(&format_args!("{}{unit}", seconds / factor))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as \"30s\", \"5m\", \"12h\" or \"7d\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_str(Visitor)
}

fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = super::number_and_unit(text)?;
    let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(factor).map(Duration::from_secs)
}
