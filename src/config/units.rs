//! Values as an operator writes them: sizes, durations, addresses, secrets.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const SIZE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// That many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// That many times 1024 bytes.
    pub const fn kib(kib: u64) -> Self {
        Self(kib << 10)
    }

    /// That many times 1024² bytes.
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes, as lengths in memory are counted.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = number_and_unit(text)?;
        let unit = if unit.is_empty() { "B" } else { unit };
        let (_, factor) = SIZE_UNITS
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
        number.checked_mul(factor).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = SIZE_UNITS
            .into_iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(("B", 1));
        write!(f, "{} {unit}", self.0 / factor)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"50 MiB\", or a number of bytes")
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes)
                    .map(ByteSize)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                ByteSize::parse(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// A host (address or name) and a port to listen on, such as `127.0.0.1:8008` or `[::]:8448`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct ListenAddress {
    host: String,
    port: u16,
}

impl ListenAddress {
    /// The loopback address with a port.
    pub fn loopback(port: u16) -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port,
        }
    }

    /// The port; 0 lets the operating system choose one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address as a client on this machine writes it.
    pub fn reachable(&self) -> String {
        let address = self.host.trim_matches(['[', ']']).parse::<IpAddr>();
        match address {
            Ok(ip) if ip.is_loopback() || ip.is_unspecified() => format!("localhost:{}", self.port),
            _ => self.to_string(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let plain = !host.is_empty() && !host.contains([':', '/', ' ']);
        let bracketed = host.starts_with('[')
            && host
                .trim_matches(['[', ']'])
                .parse::<std::net::Ipv6Addr>()
                .is_ok();
        (plain || bracketed).then_some(Self {
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        address.to_string()
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "expected host:port, such as \"127.0.0.1:8008\", but found {text:?}"
            ))
        })
    }
}

/// A range of addresses, such as `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AddressRange(IpNet);

impl AddressRange {
    /// Whether the address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let range = text.parse::<IpNet>().ok();
        range
            .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
            .map(Self)
            .ok_or_else(|| {
                de::Error::custom(format!(
                    "expected a range of addresses, such as \"10.0.0.0/8\", but found {text:?}"
                ))
            })
    }
}

/// Durations, written as text such as `"5m"`; for `#[serde(with = "…")]`.
pub(crate) mod duration {
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
}

/// Secrets: masked when printed, and read from the files that hold them.
pub(crate) mod secret {
    use std::path::Path;

    use serde::Serializer;
    use types::Secret;

    use crate::problem::Findings;

    /// Writes `"***"` for a secret that is set; for `#[serde(serialize_with = "…")]`.
    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub(crate) fn masked<S: Serializer>(
        secret: &Option<Secret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match secret {
            Some(_) => serializer.serialize_some("***"),
            None => serializer.serialize_none(),
        }
    }

    /// Fills in the secret at `key` from the file named by `key_file`, where that is set.
    pub(crate) fn read_file(
        secret: &mut Option<Secret>,
        file: Option<&Path>,
        key: &str,
        findings: &mut Findings,
    ) {
        let Some(path) = file else { return };
        let file_key = format!("{key}_file");
        if secret.is_some() {
            findings.add(&file_key, format!("{key} is set too; keep one of them"));
            return;
        }
        match std::fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => {
                findings.add(&file_key, format!("{} is empty", path.display()));
            }
            Ok(text) => *secret = Some(Secret::new(text.trim())),
            Err(error) => findings.add(
                &file_key,
                format!("cannot read {}: {error}", path.display()),
            ),
        }
    }
}

/// Splits `"50 MiB"` into its number and its unit.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim()))
}
