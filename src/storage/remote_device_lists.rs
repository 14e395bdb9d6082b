//! The device lists of users of other servers, as far as they are cached: those of users who share a
//! room with a user of this server and whose keys were asked for.
//!
//! The devices and keys themselves are in the same tables as those of this server's users. User ids of
//! memberships and pending changes are escaped ([`escape`](crate::escape)), those of lists are not.

use std::{collections::BTreeSet, time::Duration};

use ruma::{OwnedDeviceId, OwnedUserId, ServerName, UserId};
use types::{RoomNid, StreamPosition};

use crate::{
    Connection, Error,
    escape::{escape, unescape},
    leases::milliseconds,
    rows::id,
};

/// What is known of a cached list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedList {
    /// The last update in it, as the user's server numbers them.
    pub stream_id: i64,
    /// Whether it is out of date and to be read anew.
    pub is_stale: bool,
}

/// A list that is to be read anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleList {
    /// Whose.
    pub user_id: OwnedUserId,
    /// How often in a row it could not be read.
    pub failures: i32,
    /// Tells whether it has become stale once more.
    generation: i64,
}

/// A device of a user of another server.
#[derive(Clone, Debug)]
pub struct RemoteDevice {
    /// Its id.
    pub device_id: OwnedDeviceId,
    /// Its identity keys, a JSON object without `unsigned`; none if it has none.
    pub keys: Option<String>,
    /// Its name.
    pub display_name: Option<String>,
}

/// How a user of another server came to be in rooms with users of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedRooms {
    /// Where in the stream the user last joined one that a user of this server was in before.
    pub entered: Option<StreamPosition>,
}

/// The rooms that a user is in with users of this server; none if there are none.
pub async fn shared_rooms(
    db: &mut Connection,
    user_id: &UserId,
    own_name: &ServerName,
) -> Result<Option<SharedRooms>, Error> {
    let shared = sqlx::query!(
        r#"SELECT count(*) AS "rooms!", max(m.position) FILTER (WHERE o.first < m.position AND NOT EXISTS (
            -- Who became known later has joined earlier.
            SELECT FROM partial_states s
            WHERE s.room_nid = m.room_nid AND (s.completed_at IS NULL OR m.position <= s.completed_at)
         )) AS entered
         FROM memberships m, LATERAL (
            SELECT min(o.position) AS first FROM memberships o
            WHERE o.room_nid = m.room_nid AND o.membership = 'join' AND right(o.user_id, length($2)) = $2
         ) o
         WHERE m.user_id = $1 AND m.membership = 'join' AND o.first IS NOT NULL"#,
        &*escape(user_id.as_str()),
        format!(":{own_name}")
    )
    .fetch_one(db)
    .await?;
    Ok((shared.rooms > 0).then_some(SharedRooms {
        entered: shared.entered.map(StreamPosition),
    }))
}

/// Notes that the devices or keys of a user have changed who may be in a room whose members are not
/// known yet. Of very many nothing is noted.
pub async fn insert_pending(db: &mut Connection, user_id: &UserId) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO pending_device_lists (user_id)
         SELECT $1 WHERE (SELECT count(*) FROM pending_device_lists) < 100000
         ON CONFLICT DO NOTHING",
        &*escape(user_id.as_str())
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets those changes of which it is known by now whether the user shares a room with a user of this
/// server; returns the users who do.
pub async fn take_pending(
    db: &mut Connection,
    own_name: &ServerName,
) -> Result<Vec<OwnedUserId>, Error> {
    let rows = sqlx::query!(
        r#"WITH pending AS (
            SELECT p.user_id,
                EXISTS (
                    SELECT FROM memberships m JOIN memberships o USING (room_nid)
                    WHERE m.user_id = p.user_id AND m.membership = 'join'
                        AND o.membership = 'join' AND right(o.user_id, length($1)) = $1
                ) AS shares,
                EXISTS (
                    SELECT FROM partial_states s WHERE s.completed_at IS NULL
                        AND substr(p.user_id, strpos(p.user_id, ':') + 1) = ANY(s.servers)
                ) AS may_share
            FROM pending_device_lists p
        )
        DELETE FROM pending_device_lists d USING pending p
        WHERE d.user_id = p.user_id AND (p.shares OR NOT p.may_share)
        RETURNING d.user_id, p.shares AS "shares!""#,
        format!(":{own_name}")
    )
    .fetch_all(db)
    .await?;
    let users = rows.into_iter().filter(|row| row.shares);
    users.map(|row| id(unescape(row.user_id))).collect()
}

/// Begins to cache the lists of those of the users who share a room with a user of this server. Claims,
/// for some time, those of them that are to be read.
#[tracing::instrument(name = "storage.remote_device_lists.track", level = "debug", skip_all)]
pub async fn track(
    db: &mut Connection,
    user_ids: &[OwnedUserId],
    own_name: &ServerName,
    time: Duration,
) -> Result<Vec<StaleList>, Error> {
    let user_ids: BTreeSet<String> = user_ids.iter().map(ToString::to_string).collect();
    let user_ids: Vec<String> = user_ids.into_iter().collect();
    let rows = sqlx::query!(
        r"INSERT INTO remote_device_lists AS l (user_id, stream_id, is_stale, retry_at)
         SELECT u.user_id, 0, true, clock_timestamp() + $3::bigint * interval '1 millisecond'
         FROM UNNEST($1::text[]) AS u (user_id)
         WHERE EXISTS (
            SELECT FROM memberships m JOIN memberships o USING (room_nid)
            WHERE m.user_id = replace(u.user_id, '\', '\\') AND m.membership = 'join'
                AND o.membership = 'join' AND right(o.user_id, length($2)) = $2
         )
         ORDER BY u.user_id
         ON CONFLICT (user_id) DO UPDATE SET retry_at = excluded.retry_at
         WHERE l.is_stale AND l.retry_at <= clock_timestamp()
         RETURNING user_id, failures, generation",
        &user_ids,
        format!(":{own_name}"),
        milliseconds(time)
    )
    .fetch_all(db)
    .await?;
    let lists = rows.into_iter().map(|row| {
        Ok(StaleList {
            user_id: id(row.user_id)?,
            failures: row.failures,
            generation: row.generation,
        })
    });
    lists.collect()
}

/// A cached list, which nobody else changes until the transaction ends.
pub async fn find_for_update(
    db: &mut Connection,
    user_id: &UserId,
) -> Result<Option<CachedList>, Error> {
    let list = sqlx::query_as!(
        CachedList,
        "SELECT stream_id, is_stale FROM remote_device_lists WHERE user_id = $1 FOR UPDATE",
        user_id.as_str()
    )
    .fetch_optional(db)
    .await?;
    Ok(list)
}

/// Has a list read anew, at once: it is out of date.
pub async fn mark_stale(db: &mut Connection, user_id: &UserId) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE remote_device_lists SET is_stale = true, generation = generation + 1, retry_at = '-infinity'
         WHERE user_id = $1",
        user_id.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Puts one device in the place of what was known of it: the effect of an update.
pub async fn apply(
    db: &mut Connection,
    user_id: &UserId,
    stream_id: i64,
    device: &RemoteDevice,
) -> Result<(), Error> {
    insert(&mut *db, user_id, std::slice::from_ref(device)).await?;
    set_stream_id(db, user_id, stream_id).await
}

/// How many devices of a user are cached.
pub async fn count_devices(db: &mut Connection, user_id: &UserId) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM devices WHERE user_id = $1"#,
        user_id.as_str()
    )
    .fetch_one(db)
    .await?;
    Ok(count)
}

/// Takes a device away: the effect of an update.
pub async fn apply_deletion(
    db: &mut Connection,
    user_id: &UserId,
    stream_id: i64,
    device_id: OwnedDeviceId,
) -> Result<(), Error> {
    crate::devices::delete(&mut *db, user_id, &[device_id]).await?;
    set_stream_id(db, user_id, stream_id).await
}

async fn set_stream_id(db: &mut Connection, user_id: &UserId, stream_id: i64) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE remote_device_lists SET stream_id = $2 WHERE user_id = $1",
        user_id.as_str(),
        stream_id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Claims lists that are to be read anew, for some time; those first that have waited longest.
pub async fn claim_stale(
    db: &mut Connection,
    limit: i64,
    time: Duration,
) -> Result<Vec<StaleList>, Error> {
    let rows = sqlx::query!(
        "UPDATE remote_device_lists SET retry_at = clock_timestamp() + $2::bigint * interval '1 millisecond'
         WHERE user_id IN (
            SELECT user_id FROM remote_device_lists
            WHERE is_stale AND retry_at <= clock_timestamp() ORDER BY retry_at LIMIT $1 FOR UPDATE SKIP LOCKED
         )
         RETURNING user_id, failures, generation",
        limit,
        milliseconds(time)
    )
    .fetch_all(db)
    .await?;
    let lists = rows.into_iter().map(|row| {
        Ok(StaleList {
            user_id: id(row.user_id)?,
            failures: row.failures,
            generation: row.generation,
        })
    });
    lists.collect()
}

/// The time until a list is to be read anew that could not be read.
pub async fn next_retry(db: &mut Connection) -> Result<Option<Duration>, Error> {
    let wait = sqlx::query_scalar!(
        r#"SELECT ceil(extract(epoch FROM min(retry_at) - clock_timestamp()) * 1000)::bigint AS wait
         FROM remote_device_lists WHERE is_stale AND retry_at > clock_timestamp()"#
    )
    .fetch_one(db)
    .await?;
    Ok(wait.map(|wait| Duration::from_millis(u64::try_from(wait).unwrap_or_default())))
}

impl StaleList {
    /// Puts what was read in the place of the list; returns whether it is up to date now, which it is
    /// not if it has become stale once more since it was claimed. Does nothing if it is not cached any
    /// more. To be called in a transaction.
    #[tracing::instrument(
        name = "storage.remote_device_lists.replace",
        level = "debug",
        skip_all
    )]
    pub async fn replace(
        &self,
        db: &mut Connection,
        stream_id: i64,
        devices: &[RemoteDevice],
    ) -> Result<bool, Error> {
        let is_current = sqlx::query_scalar!(
            r#"UPDATE remote_device_lists
             SET stream_id = $2, is_stale = generation <> $3, failures = 0, retry_at = '-infinity'
             WHERE user_id = $1 RETURNING NOT is_stale AS "is_current!""#,
            self.user_id.as_str(),
            stream_id,
            self.generation
        )
        .fetch_optional(&mut *db)
        .await?;
        let Some(is_current) = is_current else {
            return Ok(false);
        };
        delete_devices(&mut *db, std::slice::from_ref(&self.user_id)).await?;
        insert(db, &self.user_id, devices).await?;
        Ok(is_current)
    }

    /// Lets some time pass before the list is read again.
    pub async fn failed(&self, db: &mut Connection, pause: Duration) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE remote_device_lists SET failures = failures + 1,
                retry_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
             WHERE user_id = $1 AND generation = $2",
            self.user_id.as_str(),
            self.generation,
            milliseconds(pause)
        )
        .execute(db)
        .await?;
        Ok(())
    }
}

async fn insert(
    db: &mut Connection,
    user_id: &UserId,
    devices: &[RemoteDevice],
) -> Result<(), Error> {
    let device_ids: Vec<String> = devices
        .iter()
        .map(|device| device.device_id.to_string())
        .collect();
    let names: Vec<Option<String>> = devices
        .iter()
        .map(|device| device.display_name.clone())
        .collect();
    let keys: Vec<Option<String>> = devices.iter().map(|device| device.keys.clone()).collect();
    sqlx::query!(
        "INSERT INTO devices (user_id, device_id, display_name, created_ts)
         SELECT $1, device_id, display_name, 0 FROM UNNEST($2::text[], $3::text[]) AS d (device_id, display_name)
         ON CONFLICT (user_id, device_id) DO UPDATE SET display_name = excluded.display_name",
        user_id.as_str(),
        &device_ids,
        &names as &[Option<String>]
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "WITH gone AS (
            DELETE FROM device_keys k USING UNNEST($2::text[], $3::text[]) AS d (device_id, keys)
            WHERE k.user_id = $1 AND k.device_id = d.device_id AND d.keys IS NULL
         )
         INSERT INTO device_keys (user_id, device_id, keys)
         SELECT $1, device_id, keys FROM UNNEST($2::text[], $3::text[]) AS d (device_id, keys) WHERE keys IS NOT NULL
         ON CONFLICT (user_id, device_id) DO UPDATE SET keys = excluded.keys",
        user_id.as_str(),
        &device_ids,
        &keys as &[Option<String>]
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn delete_devices(db: &mut Connection, user_ids: &[OwnedUserId]) -> Result<(), Error> {
    let user_ids: Vec<String> = user_ids.iter().map(ToString::to_string).collect();
    sqlx::query!(
        "WITH keys AS (DELETE FROM device_keys WHERE user_id = ANY($1)),
            signing_keys AS (DELETE FROM cross_signing_keys WHERE user_id = ANY($1))
         DELETE FROM devices WHERE user_id = ANY($1)",
        &user_ids
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Ends the caching of lists of users who share no room with a user of this server any more, of those
/// who are named, and of those who are in the rooms; returns whose.
#[tracing::instrument(
    name = "storage.remote_device_lists.untrack",
    level = "debug",
    skip_all
)]
pub async fn untrack(
    db: &mut Connection,
    user_ids: &[OwnedUserId],
    rooms: &[RoomNid],
    own_name: &ServerName,
) -> Result<Vec<OwnedUserId>, Error> {
    let user_ids: Vec<String> = user_ids.iter().map(ToString::to_string).collect();
    let room_nids: Vec<i64> = rooms.iter().map(|nid| nid.get()).collect();
    // Who is in a room that a user of this server is still in need not be looked at.
    let gone = sqlx::query_scalar!(
        r"WITH deserted AS (
            SELECT room_nid FROM UNNEST($2::bigint[]) AS r (room_nid)
            WHERE NOT EXISTS (
                SELECT FROM memberships m
                WHERE m.room_nid = r.room_nid AND m.membership = 'join' AND right(m.user_id, length($3)) = $3
            )
         ), candidates AS (
            SELECT l.user_id FROM remote_device_lists l WHERE l.user_id = ANY($1)
            UNION
            SELECT l.user_id FROM deserted r
            JOIN memberships m ON m.room_nid = r.room_nid AND m.membership = 'join'
            JOIN remote_device_lists l ON l.user_id = replace(m.user_id, '\\', '\')
         )
         DELETE FROM remote_device_lists l USING candidates c
         WHERE l.user_id = c.user_id AND NOT EXISTS (
            SELECT FROM memberships m JOIN memberships o USING (room_nid)
            WHERE m.user_id = replace(c.user_id, '\', '\\') AND m.membership = 'join'
                AND o.membership = 'join' AND right(o.user_id, length($3)) = $3
         )
         RETURNING l.user_id",
        &user_ids,
        &room_nids,
        format!(":{own_name}")
    )
    .fetch_all(&mut *db)
    .await?;
    let gone: Vec<OwnedUserId> = gone.into_iter().map(id).collect::<Result<_, _>>()?;
    if !gone.is_empty() {
        delete_devices(db, &gone).await?;
    }
    Ok(gone)
}
