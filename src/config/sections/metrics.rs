//! `[metrics]`: the internal listener for Prometheus.

use serde::{Deserialize, Serialize};

use crate::ListenAddress;

/// The internal listener for Prometheus.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Where `/metrics` is served, for internal networks only; not served if it is not set.
    pub listen: Option<ListenAddress>,
}
