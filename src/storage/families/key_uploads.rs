//! Uploads of device keys, one-time keys and fallback keys.

use std::collections::{BTreeMap, HashMap, HashSet};

use ruma::{OwnedDeviceId, OwnedUserId};

use crate::{
    Connection, Error,
    committer::{Answered, Outcome},
    one_time_keys::{KeyCounts, OneTimeKey},
    stream::UserChange,
};

/// What a device uploads.
#[derive(Clone, Debug)]
pub struct KeyUpload {
    /// The user.
    pub user_id: OwnedUserId,
    /// The user's device.
    pub device_id: OwnedDeviceId,
    /// New identity keys.
    pub device_keys: Option<NewDeviceKeys>,
    /// Keys to be given out once each; no id is there twice.
    pub one_time_keys: Vec<OneTimeKey>,
    /// Keys to be given out when the others have run out; no algorithm is there twice.
    pub fallback_keys: Vec<OneTimeKey>,
    /// How many one-time keys the device may have.
    pub limit: u64,
}

/// Identity keys that take the place of those that the device has.
#[derive(Clone, Debug)]
pub struct NewDeviceKeys {
    /// The keys that are replaced, as they were read.
    pub replaces: Option<String>,
    /// The new keys.
    pub keys: String,
}

/// What became of an upload: all of it was stored or nothing.
#[derive(Clone, Debug)]
pub enum UploadOutcome {
    /// It was stored; these keys are there now.
    Stored(KeyCounts),
    /// There are other one-time keys with some of the ids.
    IdsTaken(Vec<OneTimeKey>),
    /// The device's identity keys are not those that were to be replaced.
    Changed,
    /// The device would have too many one-time keys.
    TooMany,
    /// There is no such device.
    UnknownDevice,
}

/// Stores the uploads of a batch, before the stream is locked.
#[tracing::instrument(name = "storage.upload_keys", level = "debug", skip_all)]
pub(crate) async fn write(
    db: &mut Connection,
    uploads: &[(usize, &KeyUpload)],
) -> Result<Vec<Answered>, Error> {
    let mut answered = Vec::with_capacity(uploads.len());
    let mut left = uploads.to_vec();
    // One statement sees no rows of its own: a device's second upload takes another one.
    while !left.is_empty() {
        let mut devices = HashSet::new();
        let (mut now, later): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|(_, upload)| devices.insert((&upload.user_id, &upload.device_id)));
        // Devices are locked in this order.
        now.sort_unstable_by_key(|(_, upload)| (&upload.user_id, &upload.device_id));
        lock_devices(db, &now).await?;
        let mut found: HashMap<i64, UploadResult> = HashMap::new();
        for row in store(db, &now).await? {
            found.entry(row.upload).or_default().add(row);
        }
        for (index, (write, upload)) in (0..).zip(now) {
            answered.push(
                found
                    .remove(&index)
                    .unwrap_or_default()
                    .answer(write, upload),
            );
        }
        left = later;
    }
    Ok(answered)
}

/// One of the things that the statement says of an upload.
struct Row {
    upload: i64,
    what: String,
    algorithm: String,
    key_id: String,
    key: String,
    count: i64,
}

/// All that the statement says of an upload.
#[derive(Default)]
struct UploadResult {
    is_held: bool,
    is_crowded: bool,
    is_stored: bool,
    is_changed: bool,
    taken: Vec<OneTimeKey>,
    counts: BTreeMap<String, u64>,
    unused_fallback: Vec<String>,
}

impl UploadResult {
    fn add(&mut self, row: Row) {
        match &*row.what {
            "held" => self.is_held = true,
            "crowded" => self.is_crowded = true,
            "stored" => self.is_stored = true,
            "taken" => self.taken.push(OneTimeKey {
                algorithm: row.algorithm,
                key_id: row.key_id,
                key: row.key,
            }),
            "count" => *self.counts.entry(row.algorithm).or_default() += row.count as u64,
            "new" => {
                self.is_changed = true;
                *self.counts.entry(row.algorithm).or_default() += row.count as u64;
            }
            "unused" => self.unused_fallback.push(row.algorithm),
            _ => {
                self.is_changed = true;
                self.unused_fallback.push(row.algorithm);
            }
        }
    }

    fn answer(mut self, write: usize, upload: &KeyUpload) -> Answered {
        let mut changes = Vec::new();
        let outcome = if self.is_stored {
            let user_id = upload.user_id.clone();
            if upload.device_keys.is_some() {
                changes.push(UserChange::DeviceList {
                    user_id: user_id.clone(),
                });
            }
            if self.is_changed {
                changes.push(UserChange::KeyCounts {
                    user_id,
                    device_id: upload.device_id.clone(),
                });
            }
            self.unused_fallback.sort_unstable();
            self.unused_fallback.dedup();
            // Clients watch this count even when it is zero.
            self.counts
                .entry("signed_curve25519".to_owned())
                .or_default();
            UploadOutcome::Stored(KeyCounts {
                one_time: self.counts,
                unused_fallback: self.unused_fallback,
            })
        } else if !self.is_held {
            UploadOutcome::UnknownDevice
        } else if !self.taken.is_empty() {
            UploadOutcome::IdsTaken(self.taken)
        } else if self.is_crowded {
            UploadOutcome::TooMany
        } else {
            UploadOutcome::Changed
        };
        Answered {
            write,
            outcome: Outcome::Uploaded(outcome),
            changes,
        }
    }
}

/// The columns of the uploads, and of their keys.
#[derive(Default)]
struct Columns<'a> {
    user_ids: Vec<&'a str>,
    device_ids: Vec<&'a str>,
    device_keys: Vec<Option<&'a str>>,
    replaces: Vec<Option<&'a str>>,
    limits: Vec<i64>,
    keys: [KeyColumns<'a>; 2],
}

#[derive(Default)]
struct KeyColumns<'a> {
    uploads: Vec<i64>,
    algorithms: Vec<&'a str>,
    ids: Vec<&'a str>,
    texts: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(uploads: &[(usize, &'a KeyUpload)]) -> Self {
        let mut columns = Self::default();
        let [one_time, fallback] = &mut columns.keys;
        for (index, (_, upload)) in (0..).zip(uploads) {
            let device_keys = upload.device_keys.as_ref();
            columns.user_ids.push(upload.user_id.as_str());
            columns.device_ids.push(upload.device_id.as_str());
            columns.device_keys.push(device_keys.map(|new| &*new.keys));
            columns
                .replaces
                .push(device_keys.and_then(|new| new.replaces.as_deref()));
            columns.limits.push(upload.limit as i64);
            one_time.extend(index, &upload.one_time_keys);
            fallback.extend(index, &upload.fallback_keys);
        }
        columns
    }
}

impl<'a> KeyColumns<'a> {
    fn extend(&mut self, upload: i64, keys: &'a [OneTimeKey]) {
        for key in keys {
            self.uploads.push(upload);
            self.algorithms.push(&key.algorithm);
            self.ids.push(&key.key_id);
            self.texts.push(&key.key);
        }
    }
}

/// Lets uploads of a device to other processes wait until the transaction ends: then this one sees
/// which keys are there.
async fn lock_devices(db: &mut Connection, uploads: &[(usize, &KeyUpload)]) -> Result<(), Error> {
    let uploads = uploads.iter().map(|(_, upload)| upload);
    let devices = uploads.map(|upload| format!("{} {}", upload.user_id, upload.device_id));
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('keys ' || device, 0)) FROM UNNEST($1::text[]) AS d (device)",
        &devices.collect::<Vec<_>>()
    )
    .execute(db)
    .await?;
    Ok(())
}

#[expect(clippy::too_many_lines, reason = "one statement and its arguments")]
async fn store(db: &mut Connection, uploads: &[(usize, &KeyUpload)]) -> Result<Vec<Row>, Error> {
    let columns = Columns::of(uploads);
    let [one_time, fallback] = &columns.keys;
    // Rows are locked in the order of their keys: two processes must not wait for each other. They
    // are looked up one by one (LATERAL): a join would be planned to read whole tables while they are
    // small. An upload is decided on (`accepted`) before any of it is written; identity keys are
    // compared and swapped (`swapped`), and the other keys are only written if that did not fail
    // (`stored`).
    let rows = sqlx::query_as!(
        Row,
        r#"WITH uploads AS MATERIALIZED (
            SELECT upload - 1 AS upload, user_id, device_id, keys, replaces, key_limit
            FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
                WITH ORDINALITY AS u (user_id, device_id, keys, replaces, key_limit, upload)
        ), held AS MATERIALIZED (
            SELECT u.upload FROM uploads u CROSS JOIN LATERAL (
                SELECT FROM devices d WHERE d.user_id = u.user_id AND d.device_id = u.device_id FOR KEY SHARE
            ) d
        ), present AS MATERIALIZED (
            SELECT u.upload, s.algorithm, s.key_id FROM uploads u CROSS JOIN LATERAL (
                SELECT s.algorithm, s.key_id FROM one_time_keys s
                WHERE s.user_id = u.user_id AND s.device_id = u.device_id OFFSET 0
            ) s
        ), counts AS MATERIALIZED (
            SELECT upload, algorithm, count(*) AS count FROM present GROUP BY upload, algorithm
        ), totals AS MATERIALIZED (
            SELECT u.*, (SELECT COALESCE(sum(count), 0) FROM counts c WHERE c.upload = u.upload) AS total
            FROM uploads u
        ), new_keys AS MATERIALIZED (
            SELECT k.*, (k.upload, k.algorithm, k.key_id) IN (SELECT upload, algorithm, key_id FROM present) AS is_present
            FROM UNNEST($6::bigint[], $7::text[], $8::text[], $9::text[]) AS k (upload, algorithm, key_id, key)
        ), taken AS (
            SELECT upload, k.algorithm, k.key_id, s.key FROM new_keys k JOIN uploads u USING (upload)
            CROSS JOIN LATERAL (
                SELECT s.key FROM one_time_keys s
                WHERE s.user_id = u.user_id AND s.device_id = u.device_id
                    AND s.algorithm = k.algorithm AND s.key_id = k.key_id OFFSET 0
            ) s
            WHERE k.is_present AND s.key <> k.key
        ), crowded AS (
            SELECT upload FROM totals u
            LEFT JOIN (
                SELECT upload, count(*) AS count FROM new_keys WHERE NOT is_present GROUP BY upload
            ) n USING (upload)
            WHERE key_limit < total + COALESCE(n.count, 0)
        ), accepted AS MATERIALIZED (
            SELECT u.* FROM uploads u JOIN held USING (upload)
            WHERE upload NOT IN (SELECT upload FROM taken) AND upload NOT IN (SELECT upload FROM crowded)
        ), swapped AS (
            INSERT INTO device_keys AS d (user_id, device_id, keys)
            SELECT user_id, device_id, keys FROM accepted a
            WHERE keys IS NOT NULL AND (replaces IS NULL OR EXISTS (
                SELECT FROM device_keys s WHERE s.user_id = a.user_id AND s.device_id = a.device_id
            ))
            ORDER BY user_id, device_id
            ON CONFLICT (user_id, device_id) DO UPDATE SET keys = excluded.keys
                WHERE d.keys = (
                    SELECT replaces FROM uploads u
                    WHERE u.user_id = excluded.user_id AND u.device_id = excluded.device_id
                )
            RETURNING d.user_id, d.device_id
        ), stored AS MATERIALIZED (
            SELECT a.upload FROM accepted a LEFT JOIN swapped s USING (user_id, device_id)
            WHERE a.keys IS NULL OR s.user_id IS NOT NULL
        ), inserted AS (
            INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, key)
            SELECT u.user_id, u.device_id, k.algorithm, k.key_id, k.key
            FROM new_keys k JOIN stored USING (upload) JOIN uploads u USING (upload)
            WHERE NOT k.is_present
            RETURNING user_id, device_id, algorithm
        ), fallback AS (
            INSERT INTO fallback_keys AS f (user_id, device_id, algorithm, key_id, key)
            SELECT u.user_id, u.device_id, k.algorithm, k.key_id, k.key
            FROM UNNEST($10::bigint[], $11::text[], $12::text[], $13::text[]) AS k (upload, algorithm, key_id, key)
            JOIN uploads u USING (upload) JOIN stored USING (upload)
            ORDER BY u.user_id, u.device_id, k.algorithm
            ON CONFLICT (user_id, device_id, algorithm) DO UPDATE
                SET key_id = excluded.key_id, key = excluded.key, used = false
                WHERE f.key_id <> excluded.key_id OR f.key <> excluded.key
            RETURNING f.user_id, f.device_id, f.algorithm
        )
        SELECT upload AS "upload!", 'held' AS "what!", '' AS "algorithm!", '' AS "key_id!", '' AS "key!", 0::bigint AS "count!"
        FROM held
        UNION ALL SELECT upload, 'stored', '', '', '', 0 FROM stored
        UNION ALL SELECT upload, 'crowded', '', '', '', 0 FROM crowded
        UNION ALL SELECT upload, 'taken', algorithm, key_id, key, 0 FROM taken
        UNION ALL SELECT upload, 'count', algorithm, '', '', count FROM counts
        UNION ALL SELECT upload, 'new', algorithm, '', '', count(*)
            FROM inserted JOIN uploads USING (user_id, device_id) GROUP BY upload, algorithm
        UNION ALL SELECT upload, 'fallback', algorithm, '', '', 0 FROM fallback JOIN uploads USING (user_id, device_id)
        UNION ALL SELECT upload, 'unused', f.algorithm, '', '', 0
            FROM uploads u CROSS JOIN LATERAL (
                SELECT f.algorithm FROM fallback_keys f
                WHERE f.user_id = u.user_id AND f.device_id = u.device_id AND NOT f.used OFFSET 0
            ) f"#,
        &columns.user_ids as &[&str],
        &columns.device_ids as &[&str],
        &columns.device_keys as &[Option<&str>],
        &columns.replaces as &[Option<&str>],
        &columns.limits,
        &one_time.uploads,
        &one_time.algorithms as &[&str],
        &one_time.ids as &[&str],
        &one_time.texts as &[&str],
        &fallback.uploads,
        &fallback.algorithms as &[&str],
        &fallback.ids as &[&str],
        &fallback.texts as &[&str],
    )
    .fetch_all(db)
    .await?;
    Ok(rows)
}
