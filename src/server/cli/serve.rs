//! `chancery serve`: runs the server until it receives a shutdown signal.

use std::path::PathBuf;

use anyhow::Context as _;
use config::Config;

use crate::{lifecycle, telemetry};

/// Runs the server.
pub(super) fn run(config: Config, file: Option<PathBuf>) -> anyhow::Result<()> {
    telemetry::log(&config.log)?;
    // The process-wide default; the only failure is that there is one already.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        tracing::debug!("A TLS provider is installed already");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    runtime.block_on(lifecycle::serve(config, file))
}
