//! Rate limits by class of endpoints, per user or address.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use config::{RateLimit, RateLimits};
use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock, DefaultClock},
};
use ruma::{OwnedUserId, UserId};
use types::ErrorKind;

use crate::error::{Error, Result};

/// After this many checks of a class, keys that are no longer limited are removed.
const CLEANUP_INTERVAL: u32 = 4096;

/// A class of endpoints that share one rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Registration and username availability.
    Registration,
    /// Login and user-interactive authentication.
    Login,
    /// Sending messages, state and redactions.
    Send,
    /// Creating and joining rooms.
    Join,
    /// Inviting.
    Invite,
    /// Uploading media.
    Upload,
    /// All other endpoints that the specification marks as rate-limited.
    General,
}

/// The rate limits; a class without one is not limited.
#[derive(Debug, Default)]
pub struct Limits(HashMap<Class, Limiter>);

#[derive(Debug)]
struct Limiter {
    keyed: DefaultKeyedRateLimiter<Key>,
    checks: AtomicU32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    User(OwnedUserId),
    Address(IpAddr),
    /// Login attempts for this user.
    LoginAttempts(OwnedUserId),
}

impl Limits {
    /// No limits.
    pub fn off() -> Self {
        Self::default()
    }

    /// The configured limits.
    pub fn new(settings: &RateLimits) -> Self {
        if !settings.enabled {
            return Self::off();
        }
        let classes = [
            (Class::Registration, settings.registration),
            (Class::Login, settings.login),
            (Class::Send, settings.send),
            (Class::Join, settings.join),
            (Class::Invite, settings.invite),
            (Class::Upload, settings.upload),
            (Class::General, settings.general),
        ];
        let limiter = |(class, limit)| Some((class, Limiter::new(limit)?));
        Self(classes.into_iter().filter_map(limiter).collect())
    }

    /// Counts one call against the user, or against the address if there is no user.
    pub fn take(&self, class: Class, user_id: Option<&UserId>, address: IpAddr) -> Result<()> {
        let key = user_id.map_or(Key::Address(address), |user_id| {
            Key::User(user_id.to_owned())
        });
        self.take_key(class, &key)
    }

    /// Counts one login attempt for a user, separately from the user's own calls, so that password
    /// guessing does not limit what the logged-in user can do.
    pub fn count_login_attempt(&self, user_id: &UserId) -> Result<()> {
        self.take_key(Class::Login, &Key::LoginAttempts(user_id.to_owned()))
    }

    fn take_key(&self, class: Class, key: &Key) -> Result<()> {
        let Some(limiter) = self.0.get(&class) else {
            return Ok(());
        };
        limiter.take(key).map_err(|wait| {
            Error::new(
                ErrorKind::LimitExceeded {
                    retry_after: Some(wait),
                },
                "Too many requests",
            )
        })
    }
}

impl Limiter {
    /// `None` for a limit without a rate or a burst, which the configuration rejects.
    fn new(limit: RateLimit) -> Option<Self> {
        let period = Duration::try_from_secs_f64(1.0 / limit.per_second).ok()?;
        let quota = Quota::with_period(period)?.allow_burst(NonZeroU32::new(limit.burst)?);
        let keyed = DefaultKeyedRateLimiter::keyed(quota);
        Some(Self {
            keyed,
            checks: AtomicU32::new(0),
        })
    }

    fn take(&self, key: &Key) -> Result<(), Duration> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % CLEANUP_INTERVAL == CLEANUP_INTERVAL - 1 {
            self.keyed.retain_recent();
        }
        self.keyed
            .check_key(key)
            .map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use ruma::user_id;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn limits(burst: u32) -> Limits {
        let limit = RateLimit {
            per_second: 0.001,
            burst,
        };
        Limits::new(&RateLimits {
            login: limit,
            send: limit,
            ..RateLimits::default()
        })
    }

    #[test]
    fn burst_is_allowed_and_the_next_call_is_limited() {
        let limits = limits(2);
        assert!(limits.take(Class::Login, None, HERE).is_ok());
        assert!(limits.take(Class::Login, None, HERE).is_ok());
        assert!(limits.take(Class::Login, None, HERE).is_err());
    }

    #[test]
    fn users_and_classes_have_budgets_of_their_own() {
        let limits = limits(1);
        let (alice, bob) = (user_id!("@alice:a.org"), user_id!("@bob:a.org"));
        assert!(limits.take(Class::Send, Some(alice), HERE).is_ok());
        assert!(limits.take(Class::Send, Some(alice), HERE).is_err());
        assert!(limits.take(Class::Send, Some(bob), HERE).is_ok());
        assert!(limits.take(Class::Login, Some(alice), HERE).is_ok());
    }

    #[test]
    fn nothing_is_limited_when_limits_are_off() {
        let off = Limits::new(&RateLimits {
            enabled: false,
            ..RateLimits::default()
        });
        assert!((0..1000).all(|_| off.take(Class::Login, None, HERE).is_ok()));
    }
}
