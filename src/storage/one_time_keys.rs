//! One-time keys, given out once each, and the fallback keys behind them.

use std::collections::BTreeMap;

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use crate::{Connection, Error};

/// A key as its device uploaded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneTimeKey {
    /// Such as `signed_curve25519`.
    pub algorithm: String,
    /// What stands after the algorithm in the key's full id.
    pub key_id: String,
    /// The key, JSON.
    pub key: String,
}

/// A request for a key of an algorithm of a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRequest {
    /// The user.
    pub user_id: OwnedUserId,
    /// The user's device.
    pub device_id: OwnedDeviceId,
    /// The algorithm.
    pub algorithm: String,
}

/// A key that was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedKey {
    /// The user that it belongs to.
    pub user_id: OwnedUserId,
    /// The device that it belongs to.
    pub device_id: OwnedDeviceId,
    /// The key.
    pub key: OneTimeKey,
}

/// How many keys a device has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// One-time keys by algorithm; `signed_curve25519` is always there, be it with 0.
    pub one_time: BTreeMap<String, u64>,
    /// The algorithms whose fallback key has not been claimed.
    pub unused_fallback: Vec<String>,
}

/// How many keys the device has left.
pub async fn counts(
    db: &mut Connection,
    user_id: &UserId,
    device_id: &DeviceId,
) -> Result<KeyCounts, Error> {
    let rows = sqlx::query!(
        r#"SELECT algorithm AS "algorithm!", count(*) AS "count!", false AS "fallback!"
         FROM one_time_keys WHERE user_id = $1 AND device_id = $2 GROUP BY algorithm
         UNION ALL
         SELECT algorithm, 1, true FROM fallback_keys
         WHERE user_id = $1 AND device_id = $2 AND NOT used"#,
        user_id.as_str(),
        device_id.as_str()
    )
    .fetch_all(db)
    .await?;
    let mut counts = KeyCounts {
        one_time: BTreeMap::from([("signed_curve25519".to_owned(), 0)]),
        unused_fallback: Vec::new(),
    };
    for row in rows {
        if row.fallback {
            counts.unused_fallback.push(row.algorithm);
        } else {
            counts.one_time.insert(row.algorithm, row.count as u64);
        }
    }
    counts.unused_fallback.sort_unstable();
    Ok(counts)
}
