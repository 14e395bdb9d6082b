//! One-time keys, given out once each, and the fallback keys behind them.

use std::collections::BTreeMap;

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use crate::{Connection, Error, rows::id};

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
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Stores keys and returns how many of them are new; those whose id is taken stay as they are.
///
/// Clients watch the count of `signed_curve25519` even when it is zero.
pub async fn insert(
    db: &mut Connection,
    user_id: &UserId,
    device_id: &DeviceId,
    keys: &[OneTimeKey],
) -> Result<u64, Error> {
    let (algorithms, key_ids, texts) = columns(keys);
    // In the order of the ids: two uploads of the same keys must not wait for each other.
    let result = sqlx::query!(
        "INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, key)
         SELECT $1, $2, k.algorithm, k.key_id, k.key
         FROM UNNEST($3::text[], $4::text[], $5::text[]) AS k (algorithm, key_id, key)
         ORDER BY k.algorithm, k.key_id
         ON CONFLICT (user_id, device_id, algorithm, key_id) DO NOTHING",
        user_id.as_str(),
        device_id.as_str(),
        &algorithms,
        &key_ids,
        &texts
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// The stored keys that have the ids of these.
pub async fn with_ids_of(
    db: &mut Connection,
    user_id: &UserId,
    device_id: &DeviceId,
    keys: &[OneTimeKey],
) -> Result<Vec<OneTimeKey>, Error> {
    let (algorithms, key_ids, _) = columns(keys);
    let keys = sqlx::query_as!(
        OneTimeKey,
        "SELECT s.algorithm, s.key_id, s.key
         FROM one_time_keys s
         JOIN UNNEST($3::text[], $4::text[]) AS k (algorithm, key_id)
            ON s.algorithm = k.algorithm AND s.key_id = k.key_id
         WHERE s.user_id = $1 AND s.device_id = $2",
        user_id.as_str(),
        device_id.as_str(),
        &algorithms,
        &key_ids
    )
    .fetch_all(db)
    .await?;
    Ok(keys)
}

/// Puts the fallback keys in the place of those of the same algorithms; returns how many changed.
pub async fn replace_fallback(
    db: &mut Connection,
    user_id: &UserId,
    device_id: &DeviceId,
    keys: &[OneTimeKey],
) -> Result<u64, Error> {
    let (algorithms, key_ids, texts) = columns(keys);
    let result = sqlx::query!(
        "INSERT INTO fallback_keys (user_id, device_id, algorithm, key_id, key)
         SELECT $1, $2, k.algorithm, k.key_id, k.key
         FROM UNNEST($3::text[], $4::text[], $5::text[]) AS k (algorithm, key_id, key)
         ORDER BY k.algorithm
         ON CONFLICT (user_id, device_id, algorithm) DO UPDATE
            SET key_id = excluded.key_id, key = excluded.key, used = false
            WHERE fallback_keys.key_id <> excluded.key_id OR fallback_keys.key <> excluded.key",
        user_id.as_str(),
        device_id.as_str(),
        &algorithms,
        &key_ids,
        &texts
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// Claims the oldest one-time key for each request, if one is left; no key is claimed twice.
pub async fn claim(db: &mut Connection, wanted: &[KeyRequest]) -> Result<Vec<ClaimedKey>, Error> {
    let (user_ids, device_ids, algorithms) = wanted_columns(wanted);
    // A key that another transaction is taking is skipped, so claims of one device do not queue
    // up behind each other and each gets a key while one is left.
    let rows = sqlx::query_as!(
        Row,
        "WITH picked AS MATERIALIZED (
            SELECT k.user_id, k.device_id, k.algorithm, k.key_id
            FROM UNNEST($1::text[], $2::text[], $3::text[]) AS w (user_id, device_id, algorithm)
            CROSS JOIN LATERAL (
                SELECT o.user_id, o.device_id, o.algorithm, o.key_id FROM one_time_keys o
                WHERE o.user_id = w.user_id AND o.device_id = w.device_id AND o.algorithm = w.algorithm
                ORDER BY o.ordinal LIMIT 1 FOR UPDATE SKIP LOCKED
            ) k
        )
        DELETE FROM one_time_keys o USING picked p
        WHERE o.user_id = p.user_id AND o.device_id = p.device_id
            AND o.algorithm = p.algorithm AND o.key_id = p.key_id
        RETURNING o.user_id, o.device_id, o.algorithm, o.key_id, o.key",
        &user_ids,
        &device_ids,
        &algorithms
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(ClaimedKey::try_from).collect()
}

/// The fallback key for each request.
pub async fn fallback(
    db: &mut Connection,
    wanted: &[KeyRequest],
) -> Result<Vec<ClaimedKey>, Error> {
    let (user_ids, device_ids, algorithms) = wanted_columns(wanted);
    let rows = sqlx::query_as!(
        Row,
        "SELECT f.user_id, f.device_id, f.algorithm, f.key_id, f.key
         FROM fallback_keys f
         JOIN UNNEST($1::text[], $2::text[], $3::text[]) AS w (user_id, device_id, algorithm)
            USING (user_id, device_id, algorithm)",
        &user_ids,
        &device_ids,
        &algorithms
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(ClaimedKey::try_from).collect()
}

/// Marks fallback keys as used; returns the devices of those that were unused.
pub async fn mark_fallback_used(
    db: &mut Connection,
    keys: &[ClaimedKey],
) -> Result<Vec<(OwnedUserId, OwnedDeviceId)>, Error> {
    let user_ids: Vec<String> = keys.iter().map(|key| key.user_id.to_string()).collect();
    let device_ids: Vec<String> = keys.iter().map(|key| key.device_id.to_string()).collect();
    let algorithms: Vec<String> = keys.iter().map(|key| key.key.algorithm.clone()).collect();
    let key_ids: Vec<String> = keys.iter().map(|key| key.key.key_id.clone()).collect();
    // A row that is locked is being marked, or replaced by a key that nobody has got yet.
    let rows = sqlx::query!(
        "WITH unused AS MATERIALIZED (
            SELECT f.user_id, f.device_id, f.algorithm
            FROM fallback_keys f
            JOIN UNNEST($1::text[], $2::text[], $3::text[], $4::text[]) AS w (user_id, device_id, algorithm, key_id)
                ON f.user_id = w.user_id AND f.device_id = w.device_id AND f.algorithm = w.algorithm
                AND f.key_id = w.key_id
            WHERE NOT f.used
            FOR UPDATE OF f SKIP LOCKED
        )
        UPDATE fallback_keys f SET used = true FROM unused
        WHERE f.user_id = unused.user_id AND f.device_id = unused.device_id AND f.algorithm = unused.algorithm
        RETURNING f.user_id, f.device_id",
        &user_ids,
        &device_ids,
        &algorithms,
        &key_ids
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| Ok((id(row.user_id)?, row.device_id.into())))
        .collect()
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

struct Row {
    user_id: String,
    device_id: String,
    algorithm: String,
    key_id: String,
    key: String,
}

impl TryFrom<Row> for ClaimedKey {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            user_id: id(row.user_id)?,
            device_id: row.device_id.into(),
            key: OneTimeKey {
                algorithm: row.algorithm,
                key_id: row.key_id,
                key: row.key,
            },
        })
    }
}

type Columns = (Vec<String>, Vec<String>, Vec<String>);

fn columns(keys: &[OneTimeKey]) -> Columns {
    let columns = keys
        .iter()
        .cloned()
        .map(|key| (key.algorithm, (key.key_id, key.key)));
    let (algorithms, (key_ids, texts)) = columns.unzip::<_, _, Vec<_>, (Vec<_>, Vec<_>)>();
    (algorithms, key_ids, texts)
}

fn wanted_columns(wanted: &[KeyRequest]) -> Columns {
    let columns = wanted.iter().map(|wanted| {
        let device = (wanted.device_id.to_string(), wanted.algorithm.clone());
        (wanted.user_id.to_string(), device)
    });
    let (user_ids, (device_ids, algorithms)) = columns.unzip::<_, _, Vec<_>, (Vec<_>, Vec<_>)>();
    (user_ids, device_ids, algorithms)
}
