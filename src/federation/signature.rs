//! Verifies the signatures of inbound requests.
//!
//! Spec: server-server, "Request Authentication".

use bytes::Bytes;
use http::{HeaderMap, Method, Uri, header};
use ruma::{
    ServerName, api::federation::authentication::XMatrix, serde::Base64, signatures::PublicKeyMap,
};

use crate::{Error, Federation, Result, metrics};

/// Bodies from this size on are verified off the threads of the runtime.
const LARGE_BODY: usize = 32 * 1024;

/// The credentials of an inbound request, for this server and of one that the policy allows. The signature is not
/// verified yet.
#[derive(Clone, Debug)]
pub struct Credentials(XMatrix);

impl Credentials {
    /// The server that claims to have sent the request.
    pub fn origin(&self) -> &ServerName {
        &self.0.origin
    }
}

/// Reads the value of an `Authorization` header.
pub(crate) fn read(header: &str) -> Result<XMatrix, impl std::fmt::Display + use<>> {
    XMatrix::parse(quote_values(header))
}

impl Federation {
    /// Reads the credentials of a request, and checks all that does not need the request's body.
    pub fn credentials(&self, headers: &HeaderMap) -> Result<Credentials> {
        let credentials = self.read_credentials(headers);
        if credentials.is_err() {
            metrics::record_verification(&credentials);
        }
        credentials
    }

    fn read_credentials(&self, headers: &HeaderMap) -> Result<Credentials> {
        let invalid = |reason: &dyn std::fmt::Display| Error::Credentials(reason.to_string());
        let header = headers.get(header::AUTHORIZATION);
        let header = header.ok_or_else(|| invalid(&"there is no Authorization header"))?;
        let header = header.to_str().map_err(|error| invalid(&error))?;
        let credentials = read(header).map_err(|error| invalid(&error))?;
        let own_name = &self.inner().server_name;
        // Older servers leave the destination out.
        if credentials
            .destination
            .as_ref()
            .is_some_and(|destination| destination != own_name)
        {
            return Err(Error::WrongDestination);
        }
        if credentials.origin == *own_name {
            return Err(Error::Credentials("the origin is this server".to_owned()));
        }
        self.policy().check(&credentials.origin)?;
        self.check_limit(&credentials.origin)?;
        Ok(Credentials(credentials))
    }

    /// Verifies that the origin has signed a request, with a key that is valid now.
    pub async fn verify(
        &self,
        credentials: &Credentials,
        method: &Method,
        uri: &Uri,
        body: &Bytes,
    ) -> Result<()> {
        let result = self.check_signature(credentials, method, uri, body).await;
        metrics::record_verification(&result);
        result.inspect_err(|error| {
            tracing::info!(server.name = %credentials.origin(), %error, "A request of another server was refused");
        })
    }

    async fn check_signature(
        &self,
        Credentials(credentials): &Credentials,
        method: &Method,
        uri: &Uri,
        body: &Bytes,
    ) -> Result<()> {
        let (origin, key_id) = (&credentials.origin, &credentials.key);
        let failed = || Error::Signature(origin.clone());
        let public_key = self.inner().keys.for_request(origin, key_id).await?;
        let public_key = Base64::parse(public_key).map_err(|_| failed())?;
        let mut keys = PublicKeyMap::new();
        keys.entry(origin.to_string())
            .or_default()
            .insert(key_id.to_string(), public_key);
        let mut request = http::Request::new(body.clone());
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        let (own_name, signed) = (self.inner().server_name.clone(), credentials.clone());
        let verify = move || signed.verify_http_request(&request, &own_name, &keys);
        let verified = if body.len() < LARGE_BODY {
            verify()
        } else {
            tokio::task::spawn_blocking(verify)
                .await
                .map_err(|_| failed())?
        };
        verified.map_err(|_| failed())?;
        self.take_limit(origin)
    }
}

/// Puts all values of an `Authorization` header in quotes: older servers leave them out, even around colons.
fn quote_values(header: &str) -> String {
    let mut quoted = String::with_capacity(header.len() + 8);
    let mut rest = header;
    while let Some((name, value)) = rest.split_once('=') {
        quoted.push_str(name);
        quoted.push('=');
        let end = if value.starts_with('"') {
            end_of_quotes(value)
        } else {
            quoted.push('"');
            value.find([',', ' ', '\t']).unwrap_or(value.len())
        };
        let (value, after) = value.split_at(end);
        quoted.push_str(value);
        if !value.starts_with('"') {
            quoted.push('"');
        }
        rest = after;
    }
    quoted + rest
}

/// The end of the quoted text at the beginning of `text`, its closing quote included.
fn end_of_quotes(text: &str) -> usize {
    let mut is_escaped = false;
    let closing = text.char_indices().skip(1).find(|(_, c)| {
        let closes = *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        closes
    });
    closing.map_or(text.len(), |(position, _)| position + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_get_quotes_unless_they_have_them() {
        let quoted = r#"X-Matrix origin="a:1", key="ed25519:k" ,sig="ab==",destination="b""#;
        let plain = "X-Matrix origin=a:1, key=ed25519:k ,sig=ab==,destination=b";
        assert_eq!(quote_values(plain), quoted);
        assert_eq!(quote_values(quoted), quoted);
        let escaped = r#"X-Matrix origin="a\"=,\\", key="k""#;
        assert_eq!(quote_values(escaped), escaped);
        for odd in ["", "X-Matrix", "=", "a=", r#"a="b"#, r#"a="\"#, "é=ü,ö"] {
            assert!(quote_values(odd).len() >= odd.len());
        }
    }
}
