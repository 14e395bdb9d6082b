//! Accepts connections, serves HTTP/1.1 and HTTP/2 on them, and shuts them down gracefully.

mod address;
mod preface;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Router, body::Body};
use config::ListenAddress;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub(crate) use address::TrustedProxies;
use preface::PrefaceTimeout;

/// Limits on the time until the request head has arrived, and on the TLS handshake.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A bound socket and what is served on it.
pub(crate) struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    proxies: TrustedProxies,
}

impl Listener {
    /// Binds an address; `setting` names it in the error.
    pub(crate) async fn bind(
        address: &ListenAddress,
        setting: &str,
        tls: Option<TlsAcceptor>,
        proxies: TrustedProxies,
    ) -> anyhow::Result<Self> {
        let socket = TcpListener::bind(address.to_string())
            .await
            .with_context(|| format!("{setting}: cannot listen on {address}"))?;
        Ok(Self {
            socket,
            tls,
            proxies,
        })
    }

    /// The address, with the port that the operating system chose if it was asked to.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stopping`, then finishes requests in flight; `aborting` ends that early.
    pub(crate) async fn serve(
        self,
        router: Router,
        stopping: CancellationToken,
        aborting: CancellationToken,
    ) {
        let Self {
            socket,
            tls,
            proxies,
        } = self;
        let connection = Arc::new(Connection {
            http: http(),
            router,
            tls,
            proxies,
        });
        let mut connections = JoinSet::new();
        while let Some(accepted) = stopping.run_until_cancelled(socket.accept()).await {
            // Removes finished connections from the set.
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(Arc::clone(&connection).run(stream, peer, stopping.clone()));
                }
                Err(error) => handle_accept_error(&error).await,
            }
        }
        drop(socket);
        let finished = async { while connections.join_next().await.is_some() {} };
        if aborting.run_until_cancelled(finished).await.is_none() {
            connections.shutdown().await;
        }
    }
}

/// Backs off when the process has run out of file descriptors, instead of retrying in a tight loop.
async fn handle_accept_error(error: &io::Error) {
    let is_peer_error = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    );
    if !is_peer_error {
        tracing::error!(%error, "A connection cannot be accepted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn http() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .keep_alive_interval(Duration::from_mins(1))
        .keep_alive_timeout(HEADER_TIMEOUT);
    builder
}

/// Shared by all connections of a listener.
struct Connection {
    http: auto::Builder<TokioExecutor>,
    router: Router,
    tls: Option<TlsAcceptor>,
    proxies: TrustedProxies,
}

impl Connection {
    async fn run(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        stopping: CancellationToken,
    ) {
        // Responses are written as a whole; Nagle's algorithm would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "A connection closed before it was served");
            return;
        }
        let Some(tls) = &self.tls else {
            return self.serve_http(stream, peer, stopping).await;
        };
        let handshake = tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, tls.accept(stream));
        match stopping.run_until_cancelled(handshake).await {
            Some(Ok(Ok(stream))) => self.serve_http(stream, peer, stopping).await,
            Some(Ok(Err(error))) => tracing::debug!(%error, "A TLS handshake failed"),
            Some(Err(_)) => tracing::debug!("A TLS handshake timed out"),
            None => tracing::debug!("A TLS handshake was cancelled by the shutdown"),
        }
    }

    async fn serve_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        stopping: CancellationToken,
    ) {
        let service = service_fn(|request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            let address = self.proxies.client(peer.ip(), request.headers());
            request
                .extensions_mut()
                .insert(api::authenticate::ClientAddress(address));
            self.router.clone().oneshot(request)
        });
        let stream = TokioIo::new(PrefaceTimeout::new(stream, HEADER_TIMEOUT));
        let connection = self.http.serve_connection(stream, service);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "A connection failed");
        }
    }
}

#[cfg(test)]
mod tests;
