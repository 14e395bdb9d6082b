//! The configured listeners: client, federation, metrics.

use anyhow::Context as _;
use axum::Router;
use config::Config;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::Supervisor;

use crate::{
    listen::{Listener, TrustedProxies},
    telemetry,
    tls::Certificate,
};

/// The bound sockets.
pub(crate) struct Sockets {
    client: Listener,
    federation: Option<(Listener, Certificate)>,
    metrics: Option<(Listener, PrometheusHandle)>,
}

/// The router of each listener.
pub(crate) struct Routers {
    /// All endpoints: a proxy may route other servers there, too.
    pub(crate) client: Router,
    /// The federation endpoints.
    pub(crate) federation: Router,
}

impl Routers {
    /// Applies a function to each router.
    pub(crate) fn map(self, change: impl Fn(Router) -> Router) -> Self {
        Self {
            client: change(self.client),
            federation: change(self.federation),
        }
    }
}

impl Sockets {
    /// Binds the listeners; fails on a bad address or certificate.
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
                let certificate = Certificate::load(certificate, key)?;
                let tls = Some(certificate.acceptor()?);
                let proxies = TrustedProxies::default();
                let listener = Listener::bind(listen, "federation.listen", tls, proxies).await?;
                Some((listener, certificate))
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

    /// The certificate of the listener for other servers, if there is one.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        self.federation
            .as_ref()
            .map(|(_, certificate)| certificate.clone())
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

    /// Serves on all listeners; the returned token aborts requests in flight.
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
        if let Some((listener, certificate)) = self.federation {
            supervisor.spawn("server.certificate", move |stopping| {
                let certificate = certificate.clone();
                async move {
                    certificate.watch(stopping).await;
                    Ok::<_, std::convert::Infallible>(())
                }
            });
            start(listener, "other servers", routers.federation)?;
        }
        start(self.client, "clients", routers.client)?;
        Ok((serving, aborting))
    }
}
