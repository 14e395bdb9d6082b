//! Outgoing connections: DNS, trusted certificate authorities, and HTTP clients that share one guard against
//! requests into this server's own network.
//!
//! The guard decides on the address that is connected to, whatever name led to it.

mod dns;
mod endpoint;
mod error;
mod guard;
mod post;
mod response;
mod roots;
mod stream;
mod web;

pub use dns::{Dns, ResolvedAddresses, Service, Services};
pub use endpoint::{Endpoint, EndpointClient};
pub use error::Error;
pub use guard::AddressGuard;
pub use post::{PostClient, PostUrl};
pub use response::Response;
pub use roots::TrustRoots;
pub use stream::{Pace, StreamedResponse};
pub use web::WebClient;

/// How this server names itself in requests.
const USER_AGENT: &str = concat!("Chancery/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests;
