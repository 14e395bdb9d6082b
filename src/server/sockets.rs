//! The sockets that the settings ask for: for clients, for other servers, for Prometheus.

use anyhow::Context as _;
use axum::Router;
use config::Config;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::Supervisor;

use crate::{
    listen::{Listener, TrustedProxies},
    telemetry, tls,
};

/// The bound sockets.
pub(crate) struct Sockets {
    client: Listener,
    federation: Option<Listener>,
    metrics: Option<(Listener, PrometheusHandle)>,
}

/// What is served to whom.
pub(crate) struct Routers {
    /// Everything: a proxy may lead other servers there, too.
    pub(crate) clients: Router,
    /// What other servers need.
    pub(crate) servers: Router,
}

impl Routers {
    /// The same with each of them changed.
    pub(crate) fn map(self, change: impl Fn(Router) -> Router) -> Self {
        Self {
            clients: change(self.clients),
            servers: change(self.servers),
        }
    }
}

impl Sockets {
    /// Binds them; whatever is wrong with an address or a certificate shows here.
    pub(crate) async fn bind(
        config: &Config,
        recorder: Option<PrometheusHandle>,
    ) -> anyhow::Result<Self> {
        let proxies = TrustedProxies::new(&config.client.trusted_proxies);
        let client = Listener::bind(&config.client.listen, "client.listen", None, proxies).await?;
        let federation = match (
            &config.federation.listen,
            &config.federation.certificate_file,
            &config.federation.private_key_file,
        ) {
            (Some(listen), Some(certificate), Some(key)) => {
                let tls = tls::acceptor(certificate, key)?;
                Some(
                    Listener::bind(
                        listen,
                        "federation.listen",
                        Some(tls),
                        TrustedProxies::default(),
                    )
                    .await?,
                )
            }
            _ => None,
        };
        let metrics = match (&config.metrics.listen, recorder) {
            (Some(listen), Some(recorder)) => {
                let listener =
                    Listener::bind(listen, "metrics.listen", None, TrustedProxies::default())
                        .await?;
                Some((listener, recorder))
            }
            _ => None,
        };
        Ok(Self {
            client,
            federation,
            metrics,
        })
    }

    /// The URL for clients; the port is the real one even if the operating system chose it.
    pub(crate) fn base_url(&self, config: &Config) -> anyhow::Result<String> {
        let port = self
            .client
            .address()
            .context("client.listen: the socket has no address")?
            .port();
        let url = config.public_base_url();
        Ok(
            match (&config.client.public_base_url, config.client.listen.port()) {
                (None, 0) => format!("{}:{port}", url.trim_end_matches(":0")),
                _ => url,
            },
        )
    }

    /// Serves on all of them; the token cuts off what is in flight.
    pub(crate) fn serve(
        self,
        routers: Routers,
        supervisor: &Supervisor,
    ) -> anyhow::Result<(JoinSet<()>, CancellationToken)> {
        let (stopping, aborting) = (supervisor.stopping(), CancellationToken::new());
        let mut serving = JoinSet::new();
        let mut start = |listener: Listener, name: &str, router: Router| -> anyhow::Result<()> {
            tracing::info!(address = %listener.address()?, "Listening for {name}");
            serving.spawn(listener.serve(router, stopping.clone(), aborting.clone()));
            Ok(())
        };
        if let Some((listener, recorder)) = self.metrics {
            let upkeep = recorder.clone();
            supervisor.spawn("server.metrics", move |stopping| {
                let upkeep = upkeep.clone();
                async move {
                    stopping
                        .run_until_cancelled(telemetry::upkeep(upkeep))
                        .await;
                    Ok::<_, std::convert::Infallible>(())
                }
            });
            start(listener, "Prometheus", telemetry::metrics_router(recorder))?;
        }
        if let Some(listener) = self.federation {
            start(listener, "other servers", routers.servers)?;
        }
        start(self.client, "clients", routers.clients)?;
        Ok((serving, aborting))
    }
}
