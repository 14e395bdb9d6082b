//! The TLS certificate of the federation listener, read again when its files change.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_mins(1);

/// A certificate chain and its private key; a clone is the same one.
#[derive(Clone, Debug)]
pub(crate) struct Certificate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    chain_file: PathBuf,
    key_file: PathBuf,
    current: RwLock<Loaded>,
}

#[derive(Clone, Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    /// When the files were changed last, as far as the file system says.
    modified: [Option<SystemTime>; 2],
}

impl Certificate {
    /// Reads the certificate.
    pub(crate) fn load(chain_file: &Path, key_file: &Path) -> anyhow::Result<Self> {
        let loaded = load(chain_file, key_file)?;
        Ok(Self(Arc::new(Inner {
            chain_file: chain_file.to_owned(),
            key_file: key_file.to_owned(),
            current: RwLock::new(loaded),
        })))
    }

    /// Accepts TLS connections with the certificate that is current at that time.
    pub(crate) fn acceptor(&self) -> anyhow::Result<TlsAcceptor> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("TLS cannot be set up")?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.0) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the certificate again if its files have changed; keeps the present one if they cannot be used.
    pub(crate) fn reload(&self) {
        let inner = &*self.0;
        if inner.current.read().modified == modified(&inner.chain_file, &inner.key_file) {
            return;
        }
        match load(&inner.chain_file, &inner.key_file) {
            Ok(loaded) => {
                *inner.current.write() = loaded;
                tracing::info!("The certificate for other servers was read again");
            }
            Err(error) => {
                tracing::error!(error = %format!("{error:#}"), "The new certificate for other servers cannot be used");
            }
        }
    }

    /// Reads the certificate again whenever its files have changed.
    pub(crate) async fn watch(&self, stopping: CancellationToken) {
        let pause = || tokio::time::sleep(CHECK_INTERVAL);
        while stopping.run_until_cancelled(pause()).await.is_some() {
            self.reload();
        }
    }
}

impl ResolvesServerCert for Inner {
    fn resolve(&self, _client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().key))
    }
}

fn modified(chain_file: &Path, key_file: &Path) -> [Option<SystemTime>; 2] {
    [chain_file, key_file].map(|file| fs::metadata(file).and_then(|file| file.modified()).ok())
}

fn load(chain_file: &Path, key_file: &Path) -> anyhow::Result<Loaded> {
    // Before they are read: a change meanwhile is seen the next time.
    let modified = modified(chain_file, key_file);
    let chain = CertificateDer::pem_file_iter(chain_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| {
            format!(
                "federation.certificate_file: {} is not a PEM certificate",
                chain_file.display()
            )
        })?;
    anyhow::ensure!(
        !chain.is_empty(),
        "federation.certificate_file: {} holds no certificate",
        chain_file.display()
    );
    let key = PrivateKeyDer::from_pem_file(key_file).with_context(|| {
        format!(
            "federation.private_key_file: {} is not a PEM key",
            key_file.display()
        )
    })?;
    let key = CertifiedKey::from_der(chain, key, &ring::default_provider())
        .context("federation.private_key_file: does not fit federation.certificate_file")?;
    Ok(Loaded {
        key: Arc::new(key),
        modified,
    })
}
