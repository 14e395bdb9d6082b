//! What other servers send, read without looking at anything else; for the fuzz targets.

use ruma::{OwnedServerName, ServerName, api::federation::authentication::XMatrix};

use crate::{discovery, keys, signature};

/// Reads the value of an `Authorization` header.
pub fn x_matrix(header: &str) -> Option<XMatrix> {
    signature::read(header).ok()
}

/// The server name in the body of `/.well-known/matrix/server`.
pub fn well_known(body: &[u8]) -> Option<OwnedServerName> {
    discovery::read_well_known(body)
}

/// How many keys a key response of a server has that arrives at `now_ms`; `None` if it does not
/// hold.
pub fn server_keys(server: &ServerName, body: &[u8], now_ms: u64) -> Option<usize> {
    keys::count_keys(server, body, now_ms)
}
