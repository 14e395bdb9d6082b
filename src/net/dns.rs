//! DNS lookups: addresses and services of a name.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use hickory_resolver::{
    Hosts, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::Query,
        rr::{Name, RData, RecordType, rdata::SRV},
    },
    system_conf::read_system_conf,
};

use crate::Error;

/// How long one attempt to ask a name server may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a lookup may take as a whole.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(4);
/// How long an entry of the hosts file is taken for current.
const HOSTS_TTL: Duration = Duration::from_mins(5);
/// The most addresses and services that are used of one answer.
const MAX_RECORDS: usize = 16;

/// A resolver that asks the name servers of the operating system, after its hosts file. Cheap to clone.
#[derive(Clone)]
pub struct Dns {
    resolver: TokioResolver,
    hosts: std::sync::Arc<Hosts>,
}

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedAddresses {
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// How long the answer may be kept.
    pub ttl: Duration,
}

/// A service of a domain, from an SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The host that offers it.
    pub target: String,
    /// The port.
    pub port: u16,
    /// Services with the lowest number are tried first.
    pub priority: u16,
    /// How large a share of the requests it takes among those of its priority.
    pub weight: u16,
}

/// The answer to a lookup of services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// The services; empty if the domain says that it offers none.
    pub services: Vec<Service>,
    /// How long the answer may be kept.
    pub ttl: Duration,
}

impl Dns {
    /// A resolver with the name servers of the system, or with these ones if there are any.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, Error> {
        let system = read_system_conf();
        let (name_servers, options) = match (servers, system) {
            ([], Ok((config, options))) => (config.name_servers().to_vec(), options),
            ([], Err(error)) => {
                tracing::warn!(%error, "The system names no DNS servers: only the hosts file is used");
                (Vec::new(), ResolverOpts::default())
            }
            (servers, _) => (
                servers.iter().copied().map(name_server).collect(),
                ResolverOpts::default(),
            ),
        };
        // Without the system's search domains: server names are complete.
        let config = ResolverConfig::from_parts(None, Vec::new(), name_servers);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let options = builder.options_mut();
        options.timeout = ATTEMPT_TIMEOUT;
        options.attempts = 1;
        // Looked at here, before DNS is asked for either kind of address.
        options.use_hosts_file = ResolveHosts::Never;
        let resolver = builder.build().map_err(|error| resolve_error("", error))?;
        let hosts = Hosts::from_system().unwrap_or_default();
        Ok(Self {
            resolver,
            hosts: hosts.into(),
        })
    }

    /// The addresses of a host name.
    pub async fn addresses(&self, host: &str) -> Result<ResolvedAddresses, Error> {
        let name = absolute(host)?;
        if let Some(found) = self.in_hosts_file(&name) {
            return Ok(found);
        }
        let lookup = tokio::time::timeout(LOOKUP_TIMEOUT, self.resolver.lookup_ip(name)).await;
        match lookup {
            Ok(Ok(found)) => Ok(ResolvedAddresses {
                addresses: found.iter().take(MAX_RECORDS).collect(),
                ttl: remaining(found.valid_until()),
            }),
            Ok(Err(error)) if error.is_no_records_found() => Err(Error::NoAddress(host.to_owned())),
            Ok(Err(error)) => Err(resolve_error(host, error)),
            Err(_) => Err(Error::ResolveTimeout(host.to_owned())),
        }
    }

    /// The services of a name such as `_matrix-fed._tcp.example.org`; `None` if it has no SRV records.
    pub async fn services(&self, name: &str) -> Result<Option<Services>, Error> {
        let lookup = self.resolver.srv_lookup(absolute(name)?);
        match tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
            Ok(Ok(found)) => Ok(Some(services(&found))),
            Ok(Err(error)) if error.is_no_records_found() => Ok(None),
            Ok(Err(error)) => Err(resolve_error(name, error)),
            Err(_) => Err(Error::ResolveTimeout(name.to_owned())),
        }
    }

    fn in_hosts_file(&self, name: &Name) -> Option<ResolvedAddresses> {
        let addresses: Vec<IpAddr> = [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| {
                self.hosts
                    .lookup_static_host(&Query::query(name.clone(), kind))
            })
            .flat_map(|found| ip_addresses(&found))
            .take(MAX_RECORDS)
            .collect();
        (!addresses.is_empty()).then_some(ResolvedAddresses {
            addresses,
            ttl: HOSTS_TTL,
        })
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// The name with the root at its end, so that no search domain is appended.
fn absolute(name: &str) -> Result<Name, Error> {
    let mut name = Name::from_utf8(name).map_err(|_| Error::Url(name.to_owned()))?;
    name.set_fqdn(true);
    Ok(name)
}

fn ip_addresses(lookup: &Lookup) -> Vec<IpAddr> {
    let answers = lookup.answers().iter();
    answers.filter_map(|record| record.data.ip_addr()).collect()
}

fn services(lookup: &Lookup) -> Services {
    let records = lookup
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(service) => Some(service),
            _ => None,
        });
    Services {
        // RFC 2782: the root as the target means that there is no such service.
        services: records
            .filter(|record| !record.target.is_root())
            .take(MAX_RECORDS)
            .map(service)
            .collect(),
        ttl: remaining(lookup.valid_until()),
    }
}

fn service(record: &SRV) -> Service {
    Service {
        target: record.target.to_utf8().trim_end_matches('.').to_owned(),
        port: record.port,
        priority: record.priority,
        weight: record.weight,
    }
}

fn remaining(valid_until: Instant) -> Duration {
    valid_until.saturating_duration_since(tokio::time::Instant::now().into_std())
}

fn resolve_error(name: &str, source: NetError) -> Error {
    Error::Resolve {
        name: name.to_owned(),
        source: Box::new(source),
    }
}
