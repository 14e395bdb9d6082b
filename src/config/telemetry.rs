//! `[log]` and `[metrics]`.

use serde::{Deserialize, Serialize};

use crate::ListenAddress;

/// Logging.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Text for people, or JSON for programs.
    pub format: LogFormat,
    /// Levels by module, such as `info,room=debug`.
    pub filter: String,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line per message.
    #[default]
    Text,
    /// One JSON object per message.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            filter: "info".to_owned(),
        }
    }
}

/// The internal listener for Prometheus.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Where `/metrics` is served, for internal networks only; not served if it is not set.
    pub listen: Option<ListenAddress>,
}
