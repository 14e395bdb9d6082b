//! Which addresses may be connected to.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use config::AddressRange;
use ipnet::IpNet;

use crate::Error;

/// Refuses connections to addresses that are not part of the public internet, unless they are allowed by name.
///
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct AddressGuard {
    allowed: Arc<[AddressRange]>,
}

impl AddressGuard {
    /// A guard that lets through public addresses, and those in `allowed`.
    pub fn new(allowed: &[AddressRange]) -> Self {
        Self {
            allowed: allowed.into(),
        }
    }

    /// Checks an address before it is connected to.
    pub fn check(&self, address: IpAddr) -> Result<(), Error> {
        let address = address.to_canonical();
        let allowed = self.allowed.iter().any(|range| range.contains(address));
        if allowed || is_public(address) {
            Ok(())
        } else {
            Err(Error::AddressDenied(address))
        }
    }
}

/// Whether an address belongs to the public internet, as IANA's registries of special addresses have it.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Private, shared, loopback, link-local, documentation, benchmarking, relay, multicast and reserved addresses.
const SPECIAL_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4
        .iter()
        .any(|(network, length)| contains(IpAddr::V4(*network), *length, IpAddr::V4(address)))
}

/// Ranges inside `2000::/3`, the global unicast addresses, that are not public.
const SPECIAL_V6: [(Ipv6Addr, u8); 3] = [
    // Protocol assignments: Teredo, benchmarking, ORCHID.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        // NAT64 and 6to4 lead to the IPv4 address inside.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            is_public_v4(embedded(high, low))
        }
        [first, ..] => {
            let global_unicast = first & 0xe000 == 0x2000;
            let special = SPECIAL_V6.iter().any(|(network, length)| {
                contains(IpAddr::V6(*network), *length, IpAddr::V6(address))
            });
            global_unicast && !special
        }
    }
}

fn contains(network: IpAddr, length: u8, address: IpAddr) -> bool {
    IpNet::new(network, length).is_ok_and(|range| range.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allowed: &str) -> AddressGuard {
        #[derive(serde::Deserialize)]
        struct Settings {
            allowed: Vec<AddressRange>,
        }
        let settings: Settings = toml::from_str(&format!("allowed = {allowed}")).unwrap();
        AddressGuard::new(&settings.allowed)
    }

    fn allows(guard: &AddressGuard, address: &str) -> bool {
        guard.check(address.parse().unwrap()).is_ok()
    }

    #[test]
    fn addresses_of_ones_own_network_are_denied() {
        let guard = guard("[]");
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "100::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:a00:1::",
        ] {
            assert!(!allows(&guard, address), "{address}");
        }
    }

    #[test]
    fn public_addresses_are_allowed() {
        let guard = guard("[]");
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "193.0.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "64:ff9b::101:101",
            "2002:101:101::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(allows(&guard, address), "{address}");
        }
    }

    #[test]
    fn only_the_configured_ranges_are_opened() {
        let guard = guard(r#"["127.0.0.0/8", "10.1.2.3", "fd00:1::/32"]"#);
        for address in [
            "127.0.0.1",
            "127.0.1.5",
            "10.1.2.3",
            "fd00:1::9",
            "::ffff:127.0.0.1",
        ] {
            assert!(allows(&guard, address), "{address}");
        }
        for address in ["10.1.2.4", "192.168.0.1", "::1", "fd00:2::1"] {
            assert!(!allows(&guard, address), "{address}");
        }
    }
}
