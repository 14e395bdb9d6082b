//! Signing keys: those of other servers, fetched, checked and stored; and this server's own, published.
//!
//! Spec: server-server, "Retrieving server keys".

mod check;
mod events;
mod notary;
mod own;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use moka::{Expiry, future::Cache};
use ruma::{OwnedServerName, ServerName, ServerSigningKeyId};
use storage::{
    Database,
    server_keys::{self, KeyResponse, ServerKey},
};
use types::Clock;

pub use own::OwnKeys;

use crate::{
    Error, Result,
    client::{Client, Limits},
    metrics, requests,
};

/// A key response is small.
const KEY_RESPONSE: Limits = Limits {
    timeout: Duration::from_secs(15),
    max_body: 256 * 1024,
};
/// How long a server is not asked for its keys again, whatever keys its requests name.
const FETCH_INTERVAL: Duration = Duration::from_mins(1);
/// The same after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// The most servers whose keys are in memory, and for how long.
const CAPACITY: u64 = 10_000;
const CACHE_TTL: Duration = Duration::from_mins(30);

/// The keys of all servers.
#[derive(Debug)]
pub(crate) struct Keys {
    own: OwnKeys,
    database: Database,
    clock: Clock,
    client: Arc<Client>,
    /// Servers that are asked for the keys of others.
    notaries: Vec<OwnedServerName>,
    known: Cache<OwnedServerName, Arc<[ServerKey]>>,
    /// The outcome of recent fetches; simultaneous ones of one server are joined into one.
    fetches: Cache<OwnedServerName, Result<()>>,
}

struct ByOutcome;

impl Expiry<OwnedServerName, Result<()>> for ByOutcome {
    fn expire_after_create(
        &self,
        _: &OwnedServerName,
        outcome: &Result<()>,
        _: Instant,
    ) -> Option<Duration> {
        Some(if outcome.is_ok() {
            FETCH_INTERVAL
        } else {
            RETRY_INTERVAL
        })
    }
}

impl Keys {
    pub(crate) fn new(
        own: OwnKeys,
        database: Database,
        clock: Clock,
        client: Arc<Client>,
        notaries: Vec<OwnedServerName>,
    ) -> Self {
        Self {
            own,
            database,
            clock,
            client,
            notaries,
            known: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(CACHE_TTL)
                .build(),
            fetches: Cache::builder()
                .max_capacity(CAPACITY)
                .expire_after(ByOutcome)
                .build(),
        }
    }

    /// This server's keys.
    pub(crate) fn own(&self) -> &OwnKeys {
        &self.own
    }

    /// The public key with which a server signs requests now, in base64.
    pub(crate) async fn for_request(
        &self,
        server: &ServerName,
        key_id: &ServerSigningKeyId,
    ) -> Result<String> {
        if let Some(key) = self.current(server, key_id).await? {
            return Ok(key);
        }
        if let Err(source) = self.fetch_once(server).await {
            return Err(Error::NoKeys {
                server: server.to_owned(),
                source: Box::new(source),
            });
        }
        let key = self.current(server, key_id).await?;
        key.ok_or_else(|| Error::UnknownKey {
            server: server.to_owned(),
            key_id: key_id.to_owned(),
        })
    }

    /// A known key that is valid now.
    async fn current(
        &self,
        server: &ServerName,
        key_id: &ServerSigningKeyId,
    ) -> Result<Option<String>> {
        let known = self.known(server).await?;
        let now = self.clock.now_ms();
        let is_current = |key: &&ServerKey| {
            key.key_id == key_id.as_str() && !key.is_old && key.valid_until_ts >= now
        };
        Ok(known
            .iter()
            .find(is_current)
            .map(|key| key.public_key.clone()))
    }

    /// The known keys of a server.
    async fn known(&self, server: &ServerName) -> Result<Arc<[ServerKey]>> {
        let load = async {
            let mut db = self.database.acquire().await?;
            let keys = server_keys::of_server(&mut db, server).await?;
            Ok::<_, storage::Error>(Arc::from(keys))
        };
        let known = self.known.try_get_with(server.to_owned(), load).await;
        known.map_err(Error::Storage)
    }

    /// Asks a server for its keys, unless it was asked a moment ago.
    async fn fetch_once(&self, server: &ServerName) -> Result<()> {
        // Rarely needed, and large.
        let fetch = Box::pin(self.fetch(server));
        self.fetches.get_with(server.to_owned(), fetch).await
    }

    async fn fetch(&self, server: &ServerName) -> Result<()> {
        let outcome = self.fetch_and_store(server).await;
        metrics::record_key_fetch(&outcome);
        outcome.inspect_err(|error| {
            tracing::info!(server.name = %server, %error, "The keys of another server could not be fetched");
        })
    }

    async fn fetch_and_store(&self, server: &ServerName) -> Result<()> {
        let checked = match self.fetch_from_itself(server).await {
            Err(Error::Unreachable { .. } | Error::Remote { .. }) if !self.notaries.is_empty() => {
                self.fetch_from_notaries(server).await?
            }
            checked => checked?,
        };
        self.store(server, checked).await
    }

    async fn store(&self, server: &ServerName, checked: check::Checked) -> Result<()> {
        let response = KeyResponse {
            response: checked.text,
            fetched_ts: self.clock.now_ms(),
            valid_until_ts: checked.valid_until_ts,
        };
        server_keys::insert(&self.database, server, &checked.keys, &response).await?;
        self.known
            .insert(server.to_owned(), checked.keys.into())
            .await;
        Ok(())
    }

    async fn fetch_from_itself(&self, server: &ServerName) -> Result<check::Checked> {
        let mut request = http::Request::new(Bytes::new());
        *request.uri_mut() = http::Uri::from_static("/_matrix/key/v2/server");
        let response = self.client.send(server, request, KEY_RESPONSE).await?;
        let response = requests::successful(server, response)?;
        check::read(server, response.body(), self.clock.now_ms()).map_err(|reason| {
            Error::InvalidResponse {
                server: server.to_owned(),
                reason,
            }
        })
    }
}

/// How many keys a key response has; `None` if it does not hold.
pub(crate) fn count_keys(server: &ServerName, body: &[u8], now_ms: u64) -> Option<usize> {
    let checked = check::read(server, body, now_ms).ok()?;
    Some(checked.keys.len())
}
