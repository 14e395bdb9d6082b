//! Pushers: where the notifications of users are sent.

use std::time::Duration;

use ruma::{OwnedUserId, UserId};
use types::StreamPosition;

use crate::{Connection, Error, leases::milliseconds, rows::id};

/// A pusher to be stored.
#[derive(Clone, Debug)]
pub struct NewPusher {
    /// The id of the application, unique with the push key among those of a user.
    pub app_id: String,
    /// What identifies the device to the push gateway.
    pub push_key: String,
    /// The push gateway.
    pub url: String,
    /// What the push gateway is sent with each notification, a JSON object.
    pub data: String,
    /// The name of the application.
    pub app_display_name: String,
    /// The name of the device.
    pub device_display_name: String,
    /// The set of rules of the device.
    pub profile_tag: Option<String>,
    /// The language of the user.
    pub lang: String,
    /// When it was set, in milliseconds since the epoch.
    pub set_ts: i64,
}

/// A row of `pushers`.
#[derive(Clone, Debug)]
pub struct Pusher {
    /// Its number.
    pub pusher_nid: i64,
    /// Whose notifications it sends.
    pub user_id: OwnedUserId,
    /// What the client said.
    pub settings: NewPusher,
    /// While its gateway fails: what comes after this was not sent.
    pub sent_until: Option<StreamPosition>,
    /// How often its gateway has failed in a row.
    pub failures: u32,
}

/// A failure of a pusher's gateway.
#[derive(Clone, Copy, Debug)]
pub struct PusherFailure {
    /// The pusher.
    pub pusher_nid: i64,
    /// What comes after this was not sent.
    pub sent_until: StreamPosition,
    /// When to try again, from now.
    pub pause: Duration,
}

struct Row {
    pusher_nid: i64,
    user_id: String,
    app_id: String,
    push_key: String,
    url: String,
    data: String,
    app_display_name: String,
    device_display_name: String,
    profile_tag: Option<String>,
    lang: String,
    set_ts: i64,
    sent_until: Option<i64>,
    failures: i32,
}

impl Row {
    fn into_pusher(self) -> Result<Pusher, Error> {
        Ok(Pusher {
            pusher_nid: self.pusher_nid,
            user_id: id(self.user_id)?,
            settings: NewPusher {
                app_id: self.app_id,
                push_key: self.push_key,
                url: self.url,
                data: self.data,
                app_display_name: self.app_display_name,
                device_display_name: self.device_display_name,
                profile_tag: self.profile_tag,
                lang: self.lang,
                set_ts: self.set_ts,
            },
            sent_until: self.sent_until.map(StreamPosition),
            failures: self.failures.unsigned_abs(),
        })
    }
}

fn into_pushers(rows: Vec<Row>) -> Result<Vec<Pusher>, Error> {
    rows.into_iter().map(Row::into_pusher).collect()
}

/// Keeps others from setting pushers of an application and push key until the transaction ends.
pub async fn lock_key(db: &mut Connection, app_id: &str, push_key: &str) -> Result<(), Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('pushers ' || $1 || ' ' || $2, 0))",
        app_id,
        push_key
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Adds a pusher of a session, or replaces what the user's pusher of that application and push key
/// says; `false` if the session has ended.
pub async fn insert(
    db: &mut Connection,
    user_id: &UserId,
    session_nid: i64,
    new: &NewPusher,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "INSERT INTO pushers (user_id, app_id, push_key, session_nid, url, data, app_display_name,
            device_display_name, profile_tag, lang, set_ts)
         SELECT s.user_id, $3, $4, s.session_nid, $5, $6, $7, $8, $9, $10, $11
         FROM sessions s WHERE s.session_nid = $2 AND s.user_id = $1
         ON CONFLICT (user_id, app_id, push_key) DO UPDATE SET session_nid = excluded.session_nid,
            url = excluded.url, data = excluded.data, app_display_name = excluded.app_display_name,
            device_display_name = excluded.device_display_name, profile_tag = excluded.profile_tag,
            lang = excluded.lang, set_ts = excluded.set_ts,
            sent_until = NULL, failures = 0, retry_at = NULL",
        user_id.as_str(),
        session_nid,
        new.app_id,
        new.push_key,
        new.url,
        new.data,
        new.app_display_name,
        new.device_display_name,
        new.profile_tag,
        new.lang,
        new.set_ts
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How many pushers a user has.
pub async fn count(db: &mut Connection, user_id: &UserId) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM pushers WHERE user_id = $1"#,
        user_id.as_str()
    )
    .fetch_one(db)
    .await?;
    Ok(count)
}

/// Deletes a user's pusher of an application and push key, if there is one.
pub async fn delete(
    db: &mut Connection,
    user_id: &UserId,
    app_id: &str,
    push_key: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM pushers WHERE user_id = $1 AND app_id = $2 AND push_key = $3",
        user_id.as_str(),
        app_id,
        push_key
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes the pushers that other users have of an application and push key.
pub async fn delete_of_other_users(
    db: &mut Connection,
    user_id: &UserId,
    app_id: &str,
    push_key: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM pushers WHERE app_id = $2 AND push_key = $3 AND user_id <> $1",
        user_id.as_str(),
        app_id,
        push_key
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes the pushers of all sessions of a user but one.
pub async fn delete_of_other_sessions(
    db: &mut Connection,
    user_id: &UserId,
    session_nid: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM pushers WHERE user_id = $1 AND session_nid <> $2",
        user_id.as_str(),
        session_nid
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The pushers of a user, in the order in which they were added.
pub async fn of_user(db: &mut Connection, user_id: &UserId) -> Result<Vec<Pusher>, Error> {
    of_users(db, &[user_id.to_owned()]).await
}

/// The pushers of users.
pub async fn of_users(db: &mut Connection, user_ids: &[OwnedUserId]) -> Result<Vec<Pusher>, Error> {
    let user_ids: Vec<String> = user_ids.iter().map(ToString::to_string).collect();
    let rows = sqlx::query_as!(
        Row,
        "SELECT pusher_nid, user_id, app_id, push_key, url, data, app_display_name,
            device_display_name, profile_tag, lang, set_ts, sent_until, failures
         FROM pushers WHERE user_id = ANY($1) ORDER BY pusher_nid",
        &user_ids
    )
    .fetch_all(db)
    .await?;
    into_pushers(rows)
}

/// The users who have pushers.
pub async fn users(db: &mut Connection) -> Result<Vec<OwnedUserId>, Error> {
    let users = sqlx::query_scalar!("SELECT DISTINCT user_id FROM pushers")
        .fetch_all(db)
        .await?;
    users.into_iter().map(id).collect()
}

/// Deletes pushers whose push keys their gateways do not know any more.
pub async fn delete_rejected(db: &mut Connection, pusher_nids: &[i64]) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM pushers WHERE pusher_nid = ANY($1)",
        pusher_nids
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Records that nothing waits for pushers any more.
pub async fn record_caught_up(db: &mut Connection, pusher_nids: &[i64]) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE pushers SET sent_until = NULL, failures = 0, retry_at = NULL
         WHERE pusher_nid = ANY($1)",
        pusher_nids
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Records failures of gateways, each pusher at most once; one statement.
pub async fn record_failures(db: &mut Connection, failures: &[PusherFailure]) -> Result<(), Error> {
    let nids: Vec<i64> = failures.iter().map(|failure| failure.pusher_nid).collect();
    let sent_until: Vec<i64> = failures
        .iter()
        .map(|failure| failure.sent_until.get())
        .collect();
    let pauses: Vec<i64> = failures
        .iter()
        .map(|failure| milliseconds(failure.pause))
        .collect();
    sqlx::query!(
        "UPDATE pushers p SET sent_until = f.sent_until, failures = LEAST(p.failures, 1000) + 1,
            retry_at = clock_timestamp() + f.pause * interval '1 millisecond'
         FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[]) AS f (pusher_nid, sent_until, pause)
         WHERE p.pusher_nid = f.pusher_nid",
        &nids,
        &sent_until,
        &pauses
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Pushers whose gateways failed and may be tried again, those that wait longest first.
pub async fn due(db: &mut Connection, limit: i64) -> Result<Vec<Pusher>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT pusher_nid, user_id, app_id, push_key, url, data, app_display_name,
            device_display_name, profile_tag, lang, set_ts, sent_until, failures
         FROM pushers WHERE retry_at <= clock_timestamp() ORDER BY retry_at LIMIT $1",
        limit
    )
    .fetch_all(db)
    .await?;
    into_pushers(rows)
}

/// How many pushers wait for their gateways, and how long it is until the first is due.
pub async fn waiting(db: &mut Connection) -> Result<(u64, Option<Duration>), Error> {
    let row = sqlx::query!(
        r#"SELECT count(*) AS "count!",
             GREATEST(extract(epoch FROM min(retry_at) - clock_timestamp()) * 1000, 0)::bigint AS until_ms
         FROM pushers WHERE retry_at IS NOT NULL"#
    )
    .fetch_one(db)
    .await?;
    let until = row.until_ms.filter(|_| row.count > 0);
    let until = until.map(|until| Duration::from_millis(until.unsigned_abs()));
    Ok((row.count.unsigned_abs(), until))
}
