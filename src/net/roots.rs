//! The certificate authorities that are trusted.

use std::{path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::Error;

/// A set of trusted certificate authorities; cheap to clone.
#[derive(Clone, Debug)]
pub struct TrustRoots(Arc<RootCertStore>);

impl TrustRoots {
    /// The system's authorities, and those of a PEM file.
    pub fn system_and(file: Option<&Path>) -> Result<Self, Error> {
        let mut store = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "A certificate of the system could not be read");
        }
        // Systems have some that are not standard; the others are used.
        store.add_parsable_certificates(system.certs);
        if let Some(file) = file {
            add_file(&mut store, file)?;
        }
        if store.is_empty() {
            tracing::warn!("No certificate authority is trusted: no other server can be reached");
        }
        Ok(Self(Arc::new(store)))
    }

    /// The authorities of a PEM file alone.
    pub fn only(file: &Path) -> Result<Self, Error> {
        let mut store = RootCertStore::empty();
        add_file(&mut store, file)?;
        Ok(Self(Arc::new(store)))
    }

    /// TLS for an HTTP client, which may be limited to HTTP/1.1.
    pub(crate) fn client_config(&self, http2: bool) -> Result<ClientConfig, Error> {
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::Tls)?
            .with_root_certificates(Arc::clone(&self.0))
            .with_no_client_auth();
        if http2 {
            config.alpn_protocols.push(b"h2".to_vec());
        }
        config.alpn_protocols.push(b"http/1.1".to_vec());
        Ok(config)
    }
}

fn add_file(store: &mut RootCertStore, path: &Path) -> Result<(), Error> {
    let unusable = |reason: String| Error::Roots {
        path: path.to_owned(),
        reason,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(unusable("there is none in it".to_owned()));
    }
    for certificate in certificates {
        store
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    Ok(())
}
