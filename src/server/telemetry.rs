//! Logs to standard error, and the recorder behind `/metrics`.

mod process;

use std::{io::IsTerminal as _, time::Duration};

use anyhow::Context as _;
use axum::{Router, routing::get};
use config::{Log, LogFormat};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Silences a library that logs each event that it allows or leaves out, which is not unusual: servers that could not
/// reach each other have both changed a room. `log.filter` can override it.
const DEFAULT_DIRECTIVES: &str = "ruma_state_res=error";

/// In seconds; from a cache read to a long poll.
const DURATION_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];

/// Starts logging.
pub(crate) fn log(settings: &Log) -> anyhow::Result<()> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(settings)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match settings.format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))?;
    std::panic::set_hook(Box::new(|panic| {
        let location = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        // The panic message may contain user data; only the location is logged.
        tracing::error!(%location, "A task panicked");
    }));
    Ok(())
}

/// Logs warnings only, for interactive commands.
pub(crate) fn quiet_log() -> anyhow::Result<()> {
    log(&Log {
        format: LogFormat::Text,
        filter: "warn".to_owned(),
    })
}

/// The levels by module.
pub(crate) fn filter(settings: &Log) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(format!("{DEFAULT_DIRECTIVES},{}", settings.filter))
        .with_context(|| format!("log.filter: {:?} is not a filter", settings.filter))
}

/// Starts recording metrics.
pub(crate) fn metrics() -> anyhow::Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .context("metrics cannot be recorded")
}

/// The router of the metrics listener.
pub(crate) fn metrics_router(handle: PrometheusHandle) -> Router {
    let render = async move || {
        process::record();
        handle.render()
    };
    Router::new().route("/metrics", get(render))
}

/// Drains recorded samples into the histograms periodically; otherwise they accumulate between scrapes.
pub(crate) async fn upkeep(handle: PrometheusHandle) {
    let mut interval = tokio::time::interval(Duration::from_secs(5));
    loop {
        interval.tick().await;
        handle.run_upkeep();
    }
}
