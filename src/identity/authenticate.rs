//! From an access token to its user, from memory while the token is in use.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use moka::sync::Cache;
use storage::{Message, PeerEvent, sessions::TokenHash};

use crate::{ActiveUser, Error, Identity, Result, metrics, tokens};

/// How long a checked token is believed without asking the database again.
///
/// Tokens that are ended are forgotten as soon as this process hears of it; this bounds what it
/// never hears of another one.
const BELIEVED: Duration = Duration::from_mins(1);
/// Tokens in one message to other processes, at the most.
const TOLD_AT_ONCE: usize = 50;
/// What one entry takes in memory besides its identifiers, in bytes.
const ENTRY_OVERHEAD: usize = 256;

/// The tokens that were valid when they were last looked up.
#[derive(Debug)]
pub(crate) struct TokenCache {
    known: Cache<TokenHash, Known>,
    /// Counts revocations, so that a look-up that raced with one does not leave its result behind.
    revocations: AtomicU64,
}

#[derive(Clone, Debug)]
struct Known {
    user: ActiveUser,
    expires_ts: Option<i64>,
}

impl TokenCache {
    pub(crate) fn new(bytes: u64) -> Self {
        let weigh = |_: &TokenHash, known: &Known| {
            let ids = known.user.user_id.as_str().len() + known.user.device_id.as_str().len();
            u32::try_from(ENTRY_OVERHEAD + ids).unwrap_or(u32::MAX)
        };
        let known = Cache::builder()
            .max_capacity(bytes)
            .weigher(weigh)
            .time_to_live(BELIEVED)
            .build();
        Self {
            known,
            revocations: AtomicU64::new(0),
        }
    }

    /// Takes note of what is heard of other processes.
    pub(crate) fn hear(&self, heard: PeerEvent<'_>) {
        match heard {
            PeerEvent::Message(Message::TokensEnded(hashes)) => self.forget(hashes),
            PeerEvent::Listening => {
                self.revocations.fetch_add(1, Ordering::AcqRel);
                self.known.invalidate_all();
            }
            PeerEvent::Message(_) | PeerEvent::Changes(_) => {}
        }
    }

    /// Forgets tokens that have just been ended in the database.
    fn forget(&self, hashes: &[TokenHash]) {
        self.revocations.fetch_add(1, Ordering::AcqRel);
        for hash in hashes {
            self.known.invalidate(hash);
        }
    }
}

impl Identity {
    /// The user that an access token stands for.
    ///
    /// Using a token that came from a refresh ends the tokens that it replaced.
    pub async fn authenticate(&self, token: &str) -> Result<ActiveUser> {
        let hash = tokens::hash(token);
        let known = match self.0.tokens.known.get(&hash) {
            Some(known) => known,
            None => self.look_up(hash).await?,
        };
        if known
            .expires_ts
            .is_some_and(|expires| expires <= self.now())
        {
            return Err(Error::UnknownToken { soft_logout: true });
        }
        Ok(known.user)
    }

    /// Forgets tokens that have just been ended in the database, here and in other processes.
    pub(crate) fn forget_tokens(&self, ended: &[TokenHash]) {
        self.0.tokens.forget(ended);
        for hashes in ended.chunks(TOLD_AT_ONCE) {
            let message = Message::TokensEnded(hashes.to_owned());
            self.0.database.publish(message);
        }
    }

    /// Notes that a device called, to be shown in its owner's device list.
    pub fn seen(&self, user: &ActiveUser, address: IpAddr) {
        self.0.sightings.note(user, address, self.now());
    }

    async fn look_up(&self, hash: TokenHash) -> Result<Known> {
        let cache = &self.0.tokens;
        let before = cache.revocations.load(Ordering::Acquire);
        let mut db = self.0.database.acquire().await?;
        let login = storage::sessions::find(&mut db, &hash)
            .await?
            .ok_or(Error::UnknownToken { soft_logout: false })?;
        let known = Known {
            user: ActiveUser {
                user_id: login.user_id,
                device_id: login.device_id,
                session_nid: login.session_nid,
                is_admin: login.is_admin,
                is_guest: false,
            },
            expires_ts: login.expires_ts,
        };
        cache.known.insert(hash, known.clone());
        metrics::token_looked_up(cache.known.weighted_size());
        if cache.revocations.load(Ordering::Acquire) != before {
            cache.known.invalidate(&hash);
        }
        let expired = known
            .expires_ts
            .is_some_and(|expires| expires <= self.now());
        if login.has_older_generations && !expired {
            let ended = storage::sessions::delete_older_generations(
                &mut db,
                login.session_nid,
                login.generation,
            )
            .await?;
            self.forget_tokens(&ended);
        }
        Ok(known)
    }
}
