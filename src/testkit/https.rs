//! Real HTTPS servers on loopback, with certificates of a test authority.

use std::{io::Write, net::SocketAddr, path::Path, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// A certificate authority for tests.
#[derive(Debug)]
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    file: NamedTempFile,
}

/// A certificate and its private key.
#[derive(Debug)]
pub struct IssuedCertificate {
    /// The certificate.
    pub certificate: Certificate,
    /// The private key.
    pub key: KeyPair,
}

impl TestCa {
    /// A new authority.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("valid parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let mut file = NamedTempFile::new().expect("a temporary file");
        file.write_all(certificate.pem().as_bytes())
            .expect("a writable file");
        Self {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    /// The authority's certificate, in PEM.
    pub fn file(&self) -> &Path {
        self.file.path()
    }

    /// The authority's private key, in PEM.
    pub fn private_key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues a certificate for names and addresses.
    pub fn certify(&self, names: &[&str]) -> IssuedCertificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("valid names");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        IssuedCertificate { certificate, key }
    }
}

impl Default for TestCa {
    fn default() -> Self {
        Self::new()
    }
}

/// A request as the server has received it.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// The host name that the client sent in the TLS handshake.
    pub sni: Option<String>,
    /// The version of HTTP.
    pub version: Version,
    /// The host, of the URI in HTTP/2, of the `Host` header in HTTP/1.1.
    pub host: String,
    /// The method.
    pub method: Method,
    /// The path and query.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// An HTTPS server on loopback that answers with a function; it ends when it is dropped.
#[derive(Debug)]
pub struct HttpsServer {
    address: SocketAddr,
    received: Arc<Mutex<Vec<ReceivedRequest>>>,
    _tasks: JoinSet<()>,
}

impl HttpsServer {
    /// Starts a server at a free port, with a certificate for `names`.
    pub async fn start(
        ca: &TestCa,
        names: &[&str],
        answer: impl Fn(&ReceivedRequest) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(free, ca, names, answer).await
    }

    /// Starts a server that answers with JSON, or that it knows nothing of what it is asked for.
    pub async fn start_json(
        ca: &TestCa,
        names: &[&str],
        answer: impl Fn(&ReceivedRequest) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        let unknown = || json!({ "errcode": "M_NOT_FOUND", "error": "unknown" });
        let answer = move |received: &ReceivedRequest| match answer(received) {
            Some(found) => (StatusCode::OK, found),
            None => (StatusCode::NOT_FOUND, unknown()),
        };
        Self::start_with_status(ca, names, answer).await
    }

    /// Starts a server that answers with a status and JSON.
    pub async fn start_with_status(
        ca: &TestCa,
        names: &[&str],
        answer: impl Fn(&ReceivedRequest) -> (StatusCode, Value) + Send + Sync + 'static,
    ) -> Self {
        let answer = move |received: &ReceivedRequest| {
            let (status, body) = answer(received);
            let mut response = Response::new(Body::from(body.to_string()));
            *response.status_mut() = status;
            response
        };
        Self::start(ca, names, answer).await
    }

    /// The same at an address, such as that of a server that has ended.
    pub async fn start_at(
        address: SocketAddr,
        ca: &TestCa,
        names: &[&str],
        answer: impl Fn(&ReceivedRequest) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let IssuedCertificate { certificate, key } = ca.certify(names);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .expect("a certificate with its key");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let received = Arc::new(Mutex::new(Vec::new()));
        let connection = Arc::new(Connection {
            tls: TlsAcceptor::from(Arc::new(config)),
            received: Arc::clone(&received),
            answer: Box::new(answer),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, connection));
        Self {
            address,
            received,
            _tasks: tasks,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far.
    pub fn received(&self) -> Vec<ReceivedRequest> {
        self.received.lock().clone()
    }
}

type Answer = Box<dyn Fn(&ReceivedRequest) -> Response<Body> + Send + Sync>;

struct Connection {
    tls: TlsAcceptor,
    received: Arc<Mutex<Vec<ReceivedRequest>>>,
    answer: Answer,
}

async fn accept(listener: TcpListener, connection: Arc<Connection>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(Arc::clone(&connection).serve(stream));
    }
}

impl Connection {
    /// Clients may close the connection at any time.
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let Ok(stream) = self.tls.accept(stream).await else {
            return;
        };
        let (_, session) = stream.get_ref();
        let sni = session.server_name().map(str::to_owned);
        let service = service_fn(move |request| Arc::clone(&self).answer(request, sni.clone()));
        let http = auto::Builder::new(TokioExecutor::new());
        let _closed = http.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        sni: Option<String>,
    ) -> Result<Response<Body>, hyper::Error> {
        let (head, body) = request.into_parts();
        let header = head.headers.get(http::header::HOST);
        let header = header.and_then(|host| host.to_str().ok());
        let host = head.uri.authority().map(http::uri::Authority::as_str);
        let received = ReceivedRequest {
            sni,
            version: head.version,
            host: host.or(header).unwrap_or_default().to_owned(),
            method: head.method,
            target: head
                .uri
                .path_and_query()
                .map_or_else(String::new, ToString::to_string),
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        };
        let response = (self.answer)(&received);
        self.received.lock().push(received);
        Ok(response)
    }
}
