//! SRV records, and the order in which they are tried.

use net::{Dns, Service, Services};
use types::random;

/// The services of a host in the order in which they are tried; `None` if it has no SRV record.
///
/// The deprecated name counts only where the registered one has no record. Both are asked for at once.
pub(super) async fn of(dns: &Dns, host: &str) -> Option<Services> {
    let (registered, deprecated) = (
        format!("_matrix-fed._tcp.{host}"),
        format!("_matrix._tcp.{host}"),
    );
    let (registered, deprecated) =
        tokio::join!(dns.services(&registered), dns.services(&deprecated));
    let found = |lookup: Result<Option<Services>, net::Error>| {
        lookup.unwrap_or_else(|error| {
            tracing::debug!(%error, host, "SRV records could not be looked up");
            None
        })
    };
    let mut services = found(registered).or_else(|| found(deprecated))?;
    services.services = order(services.services, random_below);
    Some(services)
}

/// RFC 2782: by priority; among those of one priority a random one first, with a chance that grows with its weight.
fn order(mut services: Vec<Service>, mut random_below: impl FnMut(u64) -> u64) -> Vec<Service> {
    // Those without weight first, so that they have a small chance.
    services.sort_by_key(|service| (service.priority, service.weight));
    let mut ordered = Vec::with_capacity(services.len());
    while let Some(first) = services.first() {
        let priority = first.priority;
        let candidates = || {
            services
                .iter()
                .take_while(|service| service.priority == priority)
        };
        let total: u64 = candidates().map(|service| u64::from(service.weight)).sum();
        let chosen = random_below(total + 1);
        let mut sum = 0;
        let position = candidates().position(|service| {
            sum += u64::from(service.weight);
            sum >= chosen
        });
        ordered.push(services.remove(position.unwrap_or_default()));
    }
    ordered
}

/// A random number below `limit`. Without randomness it is 0: the order is then less fair, but valid.
fn random_below(limit: u64) -> u64 {
    let bytes = random::bytes::<8>().unwrap_or_default();
    u64::from_be_bytes(bytes)
        .checked_rem(limit)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(target: &str, priority: u16, weight: u16) -> Service {
        Service {
            target: target.to_owned(),
            port: 1,
            priority,
            weight,
        }
    }

    fn targets(services: &[Service]) -> Vec<&str> {
        services.iter().map(|service| &*service.target).collect()
    }

    #[test]
    fn lower_priorities_come_first() {
        let services = vec![service("c", 20, 9), service("a", 5, 0), service("b", 10, 1)];
        let ordered = order(services, |_| 0);
        assert_eq!(targets(&ordered), ["a", "b", "c"]);
    }

    #[test]
    fn weights_decide_within_a_priority() {
        let services = || {
            vec![
                service("a", 1, 10),
                service("b", 1, 30),
                service("none", 1, 0),
            ]
        };
        assert_eq!(targets(&order(services(), |_| 0))[0], "none");
        assert_eq!(targets(&order(services(), |_| 1))[0], "a");
        assert_eq!(targets(&order(services(), |_| 10))[0], "a");
        assert_eq!(targets(&order(services(), |_| 11))[0], "b");
        assert_eq!(targets(&order(services(), |limit| limit - 1))[0], "b");
    }

    #[test]
    fn every_service_is_kept_once() {
        let services: Vec<_> = (0..9).map(|n| service(&n.to_string(), n % 3, n)).collect();
        let mut ordered = order(services, random_below);
        ordered.sort_by(|a, b| a.target.cmp(&b.target));
        assert_eq!(
            targets(&ordered),
            ["0", "1", "2", "3", "4", "5", "6", "7", "8"]
        );
    }
}
