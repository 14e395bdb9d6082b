//! Access-token authentication, cached in memory.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use moka::sync::Cache;
use storage::{Message, PeerEvent, sessions::TokenHash};

use crate::{ActiveUser, Caller, Error, Identity, Result, metrics, tokens};

/// How long a cached token is valid without being checked in the database again.
///
/// Revoked tokens are evicted as soon as this process is notified; this bounds the case that a
/// notification is lost.
const CACHE_TTL: Duration = Duration::from_mins(1);
/// The most token hashes in one message to other processes.
const MAX_HASHES_PER_MESSAGE: usize = 50;
/// Memory of one entry besides its identifiers, in bytes.
const ENTRY_OVERHEAD: usize = 256;

/// Valid tokens, cached.
#[derive(Debug)]
pub(crate) struct TokenCache {
    entries: Cache<TokenHash, CachedToken>,
    /// Counts revocations, so that a lookup that raced with one does not leave its result in the cache.
    revocations: AtomicU64,
}

#[derive(Clone, Debug)]
struct CachedToken {
    caller: Caller,
    expires_ts: Option<i64>,
}

impl TokenCache {
    pub(crate) fn new(bytes: u64) -> Self {
        let weigh = |_: &TokenHash, token: &CachedToken| {
            let device_id = token.caller.device_id().map_or(0, |id| id.as_str().len());
            let ids = token.caller.user_id().as_str().len() + device_id;
            u32::try_from(ENTRY_OVERHEAD + ids).unwrap_or(u32::MAX)
        };
        let entries = Cache::builder()
            .max_capacity(bytes)
            .weigher(weigh)
            .time_to_live(CACHE_TTL)
            .build();
        Self {
            entries,
            revocations: AtomicU64::new(0),
        }
    }

    /// Applies a message of another process. When some may have been missed, all tokens are evicted.
    pub(crate) fn apply_peer_event(&self, event: &PeerEvent) {
        match event {
            PeerEvent::Message(message) => {
                if let Message::TokensEnded(hashes) = &**message {
                    self.evict(hashes);
                }
            }
            PeerEvent::Resync => {
                self.revocations.fetch_add(1, Ordering::AcqRel);
                self.entries.invalidate_all();
            }
        }
    }

    /// Evicts tokens that were revoked in the database.
    fn evict(&self, hashes: &[TokenHash]) {
        self.revocations.fetch_add(1, Ordering::AcqRel);
        for hash in hashes {
            self.entries.invalidate(hash);
        }
    }
}

impl Identity {
    /// Evicts the tokens that other processes revoke, until it is cancelled.
    pub async fn follow_peers(&self) {
        let mut events = self.0.database.subscribe();
        // Messages from before were missed.
        self.0.tokens.apply_peer_event(&PeerEvent::Resync);
        while let Some(event) = events.next().await {
            self.0.tokens.apply_peer_event(&event);
        }
    }

    /// The caller with an access token.
    ///
    /// The first use of a refreshed token revokes the tokens that it replaced.
    pub async fn authenticate(&self, token: &str) -> Result<Caller> {
        let hash = tokens::hash(token);
        let cached = match self.0.tokens.entries.get(&hash) {
            Some(cached) => cached,
            None => self.load_token(hash).await?,
        };
        if cached
            .expires_ts
            .is_some_and(|expires| expires <= self.now())
        {
            return Err(Error::UnknownToken { soft_logout: true });
        }
        Ok(cached.caller)
    }

    /// Evicts tokens that were revoked in the database, here and in other processes.
    pub(crate) fn revoke_tokens(&self, ended: &[TokenHash]) {
        self.0.tokens.evict(ended);
        for hashes in ended.chunks(MAX_HASHES_PER_MESSAGE) {
            let message = Message::TokensEnded(hashes.to_owned());
            self.0.database.publish(message);
        }
    }

    /// Records when and from where a device made a request, for its owner's device list.
    pub fn record_last_seen(&self, caller: &Caller, address: IpAddr) {
        if let Some(device_id) = caller.device_id() {
            let now = self.now();
            self.0
                .last_seen
                .record(caller.user_id(), device_id, address, now);
        }
    }

    async fn load_token(&self, hash: TokenHash) -> Result<CachedToken> {
        let cache = &self.0.tokens;
        let before = cache.revocations.load(Ordering::Acquire);
        let mut db = self.0.database.acquire().await?;
        let login = storage::sessions::find(&mut db, &hash)
            .await?
            .ok_or(Error::UnknownToken { soft_logout: false })?;
        let user = ActiveUser {
            user_id: login.user_id,
            device_id: login.device_id,
            session_nid: login.session_nid,
            is_admin: login.is_admin,
        };
        let token = CachedToken {
            caller: if login.is_guest {
                Caller::Guest(user)
            } else {
                Caller::User(user)
            },
            expires_ts: login.expires_ts,
        };
        cache.entries.insert(hash, token.clone());
        metrics::record_token_lookup(cache.entries.weighted_size());
        if cache.revocations.load(Ordering::Acquire) != before {
            cache.entries.invalidate(&hash);
        }
        let expired = token
            .expires_ts
            .is_some_and(|expires| expires <= self.now());
        if login.has_older_generations && !expired {
            let ended = storage::sessions::delete_older_generations(
                &mut db,
                login.session_nid,
                login.generation,
            )
            .await?;
            self.revoke_tokens(&ended);
        }
        Ok(token)
    }
}
