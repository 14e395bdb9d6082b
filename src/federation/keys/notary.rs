//! Key responses by way of a notary: given to other servers, and fetched from those that the
//! configuration names.
//!
//! Spec: server-server, "Querying Keys Through Another Server".

use std::collections::BTreeMap;

use event::Signer;
use futures::{StreamExt as _, stream};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedServerName, ServerName};
use serde::Deserialize;
use serde_json::value::RawValue;
use storage::server_keys;

use super::{KEY_RESPONSE, Keys, check};
use crate::{Error, Federation, Result, requests};

/// The most servers of one request.
const MAX_SERVERS: usize = 100;
/// How many of them are asked at once.
const PARALLEL: usize = 8;
/// The most responses that are looked at in the answer of a notary.
const MAX_RESPONSES: usize = 16;

impl Federation {
    /// The key responses of servers, signed by this server too, for those who ask it as a notary:
    /// each with the time until which it should be valid. Servers that the policy does not allow, and
    /// those of which nothing is known, are left out.
    pub async fn notarised_keys(
        &self,
        wanted: BTreeMap<OwnedServerName, MilliSecondsSinceUnixEpoch>,
    ) -> Vec<Box<RawValue>> {
        let inner = self.inner();
        let wanted = wanted.into_iter().take(MAX_SERVERS);
        let responses = wanted.map(async |(server, until)| {
            if server == inner.server_name {
                return self.own_keys().map(Some);
            }
            if !self.policy().allows(&server) {
                return Ok(None);
            }
            inner.keys.notarised(&server, until.0.into()).await
        });
        let responses: Vec<_> = stream::iter(responses).buffered(PARALLEL).collect().await;
        let responses = responses.into_iter().filter_map(|response| {
            let logged = response.inspect_err(|error| {
                tracing::warn!(%error, "The keys of a server could not be passed on");
            });
            RawValue::from_string(logged.ok()??).ok()
        });
        responses.collect()
    }
}

impl Keys {
    /// The last key response of a server, which is asked if that is not valid for long enough.
    async fn notarised(&self, server: &ServerName, until: u64) -> Result<Option<String>> {
        let until = until.max(self.clock.now_ms());
        let stored = self.stored_response(server).await?;
        let stored = match stored {
            Some(response) if response.valid_until_ts >= until => Some(response),
            old => {
                // Who cannot be reached is known by the last response.
                match self.fetch_once(server).await {
                    Ok(()) => self.stored_response(server).await?,
                    Err(_) => old,
                }
            }
        };
        let Some(stored) = stored else {
            return Ok(None);
        };
        signed(self.own.signer(), &stored.response).map(Some)
    }

    async fn stored_response(
        &self,
        server: &ServerName,
    ) -> Result<Option<server_keys::KeyResponse>> {
        let mut db = self.database.acquire().await?;
        Ok(server_keys::response(&mut db, server).await?)
    }

    /// Asks the configured notaries in turn for the keys of a server that does not answer itself.
    pub(super) async fn fetch_from_notaries(&self, server: &ServerName) -> Result<check::Checked> {
        let mut failure = None;
        for notary in self.notaries.iter().filter(|notary| *notary != server) {
            match Box::pin(self.fetch_from_notary(notary, server)).await {
                Ok(checked) => return Ok(checked),
                Err(error) => {
                    tracing::info!(server.name = %server, notary = %notary, %error, "A notary did not tell the keys of a server");
                    failure = Some(error);
                }
            }
        }
        let none = || Error::InvalidResponse {
            server: server.to_owned(),
            reason: "no notary is configured that could be asked".to_owned(),
        };
        Err(failure.unwrap_or_else(none))
    }

    async fn fetch_from_notary(
        &self,
        notary: &ServerName,
        server: &ServerName,
    ) -> Result<check::Checked> {
        let invalid = |reason: String| Error::InvalidResponse {
            server: notary.to_owned(),
            reason,
        };
        let now = self.clock.now_ms();
        let responses = self.ask_notary(notary, server).await?;
        let mut reason = "it has no keys of the server".to_owned();
        for response in responses.iter().take(MAX_RESPONSES) {
            let text = response.get();
            match check::read(server, text.as_bytes(), now) {
                Ok(checked) => {
                    if self.is_signed_by(notary, text).await? {
                        return Ok(checked);
                    }
                    "the notary has not signed the keys".clone_into(&mut reason);
                }
                Err(error) => reason = error,
            }
        }
        Err(invalid(reason))
    }

    async fn ask_notary(
        &self,
        notary: &ServerName,
        server: &ServerName,
    ) -> Result<Vec<Box<RawValue>>> {
        #[derive(Deserialize)]
        struct Answer {
            server_keys: Vec<Box<RawValue>>,
        }
        let now = self.clock.now_ms();
        let path = format!("/_matrix/key/v2/query/{server}?minimum_valid_until_ts={now}");
        let uri: http::Uri = path
            .parse()
            .map_err(|error: http::uri::InvalidUri| Error::Request(error.to_string()))?;
        let mut request = http::Request::new(bytes::Bytes::new());
        *request.uri_mut() = uri;
        let response = self.client.send(notary, request, KEY_RESPONSE).await?;
        let response = requests::successful(notary, response)?;
        let answer: Answer =
            serde_json::from_slice(response.body()).map_err(|error| Error::InvalidResponse {
                server: notary.to_owned(),
                reason: error.to_string(),
            })?;
        Ok(answer.server_keys)
    }

    /// Whether a server has signed a text with one of the keys that it uses now.
    async fn is_signed_by(&self, notary: &ServerName, text: &str) -> Result<bool> {
        let Ok(object) = event::canonical_object(text) else {
            return Ok(false);
        };
        let now = self.clock.now_ms();
        let is_current = |key: &&server_keys::ServerKey| !key.is_old && key.valid_until_ts >= now;
        let mut known = self.known(notary).await?;
        if !known.iter().any(|key| is_current(&key)) {
            // From itself, or else notaries might wait for each other.
            let checked = self.fetch_from_itself(notary).await?;
            self.store(notary, checked).await?;
            known = self.known(notary).await?;
        }
        let mut current = known.iter().filter(is_current);
        Ok(current.any(|key| {
            event::verify_json(&object, notary.as_str(), &key.key_id, &key.public_key).is_ok()
        }))
    }
}

/// A key response with one more signature.
fn signed(signer: &Signer, response: &str) -> Result<String> {
    let failed = |error: &dyn std::fmt::Display| Error::OwnKeys(error.to_string());
    let mut object = event::canonical_object(response).map_err(|error| failed(&error))?;
    signer
        .sign_json(&mut object)
        .map_err(|error| failed(&error))?;
    serde_json::to_string(&object).map_err(|error| failed(&error))
}
