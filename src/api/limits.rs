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
/// How many times the login limit all addresses together may use up for one user, unless one of the
/// user's devices was seen there.
const UNKNOWN_ADDRESSES: u32 = 10;

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
    /// Setting the own presence.
    Presence,
    /// Restarting, cancelling and sending delayed events.
    DelayedEvents,
    /// All other endpoints that the specification marks as rate-limited.
    General,
}

/// The rate limits; a class without one is not limited.
#[derive(Debug, Default)]
pub struct Limits {
    classes: HashMap<Class, Limiter>,
    /// Login attempts by user, from addresses where none of the user's devices was seen.
    unknown_addresses: Option<Limiter>,
}

#[derive(Debug)]
struct Limiter {
    keyed: DefaultKeyedRateLimiter<Key>,
    checks: AtomicU32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    User(OwnedUserId),
    Address(IpAddr),
    /// Login attempts for this user from this address.
    LoginAttempts(OwnedUserId, IpAddr),
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
            (Class::Presence, settings.presence),
            (Class::DelayedEvents, settings.delayed_events),
            (Class::General, settings.general),
        ];
        let limiter = |(class, limit)| Some((class, Limiter::new(limit)?));
        Self {
            classes: classes.into_iter().filter_map(limiter).collect(),
            unknown_addresses: Limiter::new(RateLimit {
                per_second: settings.login.per_second * f64::from(UNKNOWN_ADDRESSES),
                burst: settings.login.burst.saturating_mul(UNKNOWN_ADDRESSES),
            }),
        }
    }

    /// Counts one call against the user, or against the address if there is no user.
    pub fn take(&self, class: Class, user_id: Option<&UserId>, address: IpAddr) -> Result<()> {
        let key = user_id.map_or(Key::Address(address), |user_id| {
            Key::User(user_id.to_owned())
        });
        self.take_key(class, &key)
    }

    /// Counts one login attempt for a user from an address. Attempts from other addresses are
    /// counted apart, so that password guessing does not lock the owner out elsewhere.
    pub fn count_login_attempt(&self, user_id: &UserId, address: IpAddr) -> Result<()> {
        let key = Key::LoginAttempts(user_id.to_owned(), address);
        self.take_key(Class::Login, &key)
    }

    /// Counts one login attempt for a user from an address where none of the user's devices was
    /// seen, against what all such addresses together may try.
    pub fn count_login_attempt_from_unknown_address(&self, user_id: &UserId) -> Result<()> {
        let Some(limiter) = &self.unknown_addresses else {
            return Ok(());
        };
        limiter
            .take(&Key::User(user_id.to_owned()))
            .map_err(limit_exceeded)
    }

    fn take_key(&self, class: Class, key: &Key) -> Result<()> {
        let Some(limiter) = self.classes.get(&class) else {
            return Ok(());
        };
        limiter.take(key).map_err(limit_exceeded)
    }
}

fn limit_exceeded(wait: Duration) -> Error {
    let kind = ErrorKind::LimitExceeded {
        retry_after: Some(wait),
    };
    Error::new(kind, "Too many requests")
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
    fn login_attempts_from_one_address_do_not_limit_another() {
        let (limits, alice) = (limits(1), user_id!("@alice:a.org"));
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert!(limits.count_login_attempt(alice, HERE).is_ok());
        assert!(limits.count_login_attempt(alice, HERE).is_err());
        assert!(limits.count_login_attempt(alice, elsewhere).is_ok());
    }

    #[test]
    fn login_attempts_from_unknown_addresses_share_a_limit() {
        let (limits, alice) = (limits(1), user_id!("@alice:a.org"));
        let count = || limits.count_login_attempt_from_unknown_address(alice);
        assert!((0..UNKNOWN_ADDRESSES).all(|_| count().is_ok()));
        assert!(count().is_err());
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
