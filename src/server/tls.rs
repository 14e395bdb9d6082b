//! The TLS certificate of the federation listener.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;

/// Reads a certificate chain and its private key.
pub(crate) fn acceptor(certificate: &Path, private_key: &Path) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| {
            format!(
                "federation.certificate_file: {} is not a PEM certificate",
                certificate.display()
            )
        })?;
    anyhow::ensure!(
        !chain.is_empty(),
        "federation.certificate_file: {} holds no certificate",
        certificate.display()
    );
    let key = PrivateKeyDer::from_pem_file(private_key).with_context(|| {
        format!(
            "federation.private_key_file: {} is not a PEM key",
            private_key.display()
        )
    })?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("federation.private_key_file: does not fit federation.certificate_file")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
