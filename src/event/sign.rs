//! Keys and signatures: Ed25519, unpadded base64.
//!
//! Spec: appendices, "Signing JSON"; server-server, "Signing events".

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedServerName, OwnedServerSigningKeyId, ServerName,
    ServerSigningKeyId, SigningKeyAlgorithm,
    serde::Base64,
    signatures::{
        Ed25519KeyPair, KeyPair, VerificationError, sign_json,
        to_canonical_json_string_for_signing, verify_canonical_json_bytes,
    },
};

use crate::FormatError;

mod batch;

pub use batch::verify_json_batch;

/// A signature or key could not be made or did not hold.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The private key cannot be read.
    #[error("The signing key cannot be read: {0}")]
    Key(String),
    /// The object carries no signature of that entity with that key.
    #[error("There is no signature of {entity} with the key {key_id}")]
    Missing {
        /// The user or server.
        entity: String,
        /// The key, such as `ed25519:abc`, or which key is wanted.
        key_id: String,
    },
    /// A key or signature is not base64, or not of the right length.
    #[error("The signature cannot be checked: {0}")]
    Unreadable(String),
    /// The signature was not made by that key over this object.
    #[error("The signature does not match")]
    Mismatch(#[source] VerificationError),
}

impl types::Fault for SignatureError {
    fn kind(&self) -> types::ErrorKind {
        match self {
            Self::Key(_) => types::ErrorKind::Internal,
            _ => types::ErrorKind::InvalidSignature,
        }
    }
}

/// This server's name and signing key.
#[derive(Clone)]
pub struct Signer {
    server_name: OwnedServerName,
    key_id: OwnedServerSigningKeyId,
    key_pair: Arc<Ed25519KeyPair>,
}

impl Signer {
    /// Makes a new key; also returns it as a PKCS#8 document, to be kept secret and loaded again
    /// with [`Signer::from_der`] and the version of [`Signer::key_version`].
    pub fn generate(server_name: &ServerName) -> Result<(Self, Vec<u8>), SignatureError> {
        let document = Ed25519KeyPair::generate();
        let unnamed = Self::from_der(server_name, "unnamed", &document)?;
        // Named after its public half, so that no two keys of a server share a name.
        let version: String = unnamed
            .public_key_base64()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(8)
            .collect();
        Ok((
            Self::from_der(server_name, &version, &document)?,
            document.to_vec(),
        ))
    }

    /// Loads a key from a PKCS#8 document.
    ///
    /// The version may have ASCII letters, digits and underscores.
    pub fn from_der(
        server_name: &ServerName,
        key_version: &str,
        document: &[u8],
    ) -> Result<Self, SignatureError> {
        if !key_version
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(SignatureError::Key(format!(
                "`{key_version}` cannot name a key"
            )));
        }
        let key_id = ServerSigningKeyId::parse(format!("ed25519:{key_version}"))
            .map_err(|error| SignatureError::Key(error.to_string()))?;
        let key_pair = Ed25519KeyPair::from_der(document, key_version.to_owned())
            .map_err(|error| SignatureError::Key(error.to_string()))?;
        Ok(Self {
            server_name: server_name.to_owned(),
            key_id,
            key_pair: Arc::new(key_pair),
        })
    }

    /// The server that signs.
    pub fn server_name(&self) -> &ServerName {
        &self.server_name
    }

    /// The key's id, such as `ed25519:abc`.
    pub fn key_id(&self) -> &ServerSigningKeyId {
        &self.key_id
    }

    /// The key's id without its algorithm.
    pub fn key_version(&self) -> &str {
        self.key_pair.version()
    }

    /// The public half of the key.
    pub fn public_key_base64(&self) -> String {
        STANDARD_NO_PAD.encode(self.key_pair.public_key())
    }

    /// The key pair itself, for ruma's request signing.
    pub fn key_pair(&self) -> &Ed25519KeyPair {
        &self.key_pair
    }

    /// This server's signature over a text.
    pub(crate) fn sign_text(&self, text: &str) -> String {
        self.key_pair.sign(text.as_bytes()).base64()
    }

    /// Adds this server's signature to an object.
    pub fn sign_json(&self, object: &mut CanonicalJsonObject) -> Result<(), FormatError> {
        Ok(sign_json(
            self.server_name.as_str(),
            &*self.key_pair,
            object,
        )?)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("server_name", &self.server_name)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// Checks the signature of `entity` (a user or server) with one Ed25519 key over an object.
///
/// `key_id` is the whole id, such as `ed25519:DEVICEID`; other signatures are ignored.
pub fn verify_json(
    object: &CanonicalJsonObject,
    entity: &str,
    key_id: &str,
    public_key_base64: &str,
) -> Result<(), SignatureError> {
    let signature = signature_of(object, entity, key_id)?;
    let message = to_canonical_json_string_for_signing(object)
        .map_err(|error| SignatureError::Unreadable(error.to_string()))?;
    verify_canonical_json_bytes(
        &SigningKeyAlgorithm::Ed25519,
        &decode(public_key_base64)?,
        &decode(signature)?,
        message.as_bytes(),
    )
    .map_err(SignatureError::Mismatch)
}

/// The text of the signature of `entity` with one key.
fn signature_of<'o>(
    object: &'o CanonicalJsonObject,
    entity: &str,
    key_id: &str,
) -> Result<&'o str, SignatureError> {
    let by_key = object
        .get("signatures")
        .and_then(CanonicalJsonValue::as_object)
        .and_then(|signatures| signatures.get(entity)?.as_object());
    let signature = by_key.and_then(|by_key| by_key.get(key_id)?.as_str());
    signature.ok_or_else(|| SignatureError::Missing {
        entity: entity.to_owned(),
        key_id: key_id.to_owned(),
    })
}

pub(crate) fn decode(base64: &str) -> Result<Vec<u8>, SignatureError> {
    Base64::<ruma::serde::base64::Standard>::parse(base64)
        .map(Base64::into_inner)
        .map_err(|error| SignatureError::Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests;
