//! Claims of one-time keys: each key is given out once.

use std::collections::{BTreeMap, HashMap};

use crate::{
    Connection, Error,
    committer::{Answered, Outcome},
    one_time_keys::{ClaimedKey, KeyRequest, OneTimeKey},
    stream::UserChange,
};

/// The claims, by their numbers in the batch, that ask one device for keys of one algorithm.
type Asked<'a> = (&'a KeyRequest, Vec<usize>);

/// Takes the keys that the claims of a batch ask for, before the stream is locked.
///
/// A device gives its oldest one-time keys, and its fallback key when none is left.
#[tracing::instrument(name = "storage.claim_keys", level = "debug", skip_all)]
pub(crate) async fn write(
    db: &mut Connection,
    claims: &[(usize, &[KeyRequest])],
) -> Result<Vec<Answered>, Error> {
    let mut asked: BTreeMap<&KeyRequest, Vec<usize>> = BTreeMap::new();
    for (claim, wanted) in claims {
        for wanted in *wanted {
            asked.entry(wanted).or_default().push(*claim);
        }
    }
    let asked: Vec<Asked<'_>> = asked.into_iter().collect();
    let mut rows: HashMap<usize, Vec<Row>> = HashMap::new();
    for row in take(db, &asked).await? {
        rows.entry(row.device as usize).or_default().push(row);
    }
    let mut answers: HashMap<usize, ClaimResult> = claims
        .iter()
        .map(|(claim, _)| (*claim, ClaimResult::default()))
        .collect();
    for (device, (wanted, claims)) in (1..).zip(asked) {
        let rows = rows.remove(&device).unwrap_or_default();
        let is_reduced = rows.iter().any(|row| row.is_reduced);
        let (fallback, one_time): (Vec<Row>, Vec<Row>) =
            rows.into_iter().partition(|row| row.is_fallback);
        let mut one_time = one_time.into_iter();
        for (index, claim) in claims.into_iter().enumerate() {
            let Some(row) = one_time.next().or_else(|| fallback.first().cloned()) else {
                break;
            };
            let answer = answers.entry(claim).or_default();
            answer.keys.push(row.claimed(wanted));
            // Once for each device.
            if is_reduced && index == 0 {
                answer.changes.push(UserChange::KeyCounts {
                    user_id: wanted.user_id.clone(),
                    device_id: wanted.device_id.clone(),
                });
            }
        }
    }
    let answered = answers.into_iter().map(|(claim, answer)| Answered {
        write: claim,
        outcome: Outcome::Claimed(answer.keys),
        changes: answer.changes,
    });
    Ok(answered.collect())
}

#[derive(Default)]
struct ClaimResult {
    keys: Vec<ClaimedKey>,
    changes: Vec<UserChange>,
}

/// A key that is given out.
#[derive(Clone)]
struct Row {
    /// Which of those asked, from 1.
    device: i64,
    key_id: String,
    key: String,
    is_fallback: bool,
    /// Whether the device has fewer keys now.
    is_reduced: bool,
}

impl Row {
    fn claimed(self, wanted: &KeyRequest) -> ClaimedKey {
        ClaimedKey {
            user_id: wanted.user_id.clone(),
            device_id: wanted.device_id.clone(),
            key: OneTimeKey {
                algorithm: wanted.algorithm.clone(),
                key_id: self.key_id,
                key: self.key,
            },
        }
    }
}

async fn take(db: &mut Connection, asked: &[Asked<'_>]) -> Result<Vec<Row>, Error> {
    let mut user_ids: Vec<&str> = Vec::with_capacity(asked.len());
    let mut device_ids: Vec<&str> = Vec::with_capacity(asked.len());
    let mut algorithms: Vec<&str> = Vec::with_capacity(asked.len());
    let mut counts: Vec<i64> = Vec::with_capacity(asked.len());
    for (wanted, claims) in asked {
        user_ids.push(wanted.user_id.as_str());
        device_ids.push(wanted.device_id.as_str());
        algorithms.push(&wanted.algorithm);
        counts.push(claims.len() as i64);
    }
    // A key that another process is taking is skipped: claims of one device do not wait for each
    // other, and each gets a key while one is left. Locked rows are found again by their place.
    let rows = sqlx::query_as!(
        Row,
        r#"WITH wanted AS MATERIALIZED (
            SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[])
                WITH ORDINALITY AS w (user_id, device_id, algorithm, count, device)
        ), picked AS MATERIALIZED (
            SELECT w.device, k.place FROM wanted w
            CROSS JOIN LATERAL (
                SELECT o.ctid AS place FROM one_time_keys o
                WHERE o.user_id = w.user_id AND o.device_id = w.device_id AND o.algorithm = w.algorithm
                ORDER BY o.ordinal LIMIT w.count FOR UPDATE SKIP LOCKED
            ) k
        ), deleted AS (
            DELETE FROM one_time_keys o USING picked p WHERE o.ctid = p.place
            RETURNING p.device, o.key_id, o.key
        ), short AS MATERIALIZED (
            SELECT f.ctid AS place, w.device, f.key_id, f.key, f.used
            FROM wanted w
            LEFT JOIN (SELECT device, count(*) AS count FROM picked GROUP BY device) p ON p.device = w.device
            JOIN fallback_keys f ON f.user_id = w.user_id AND f.device_id = w.device_id AND f.algorithm = w.algorithm
            WHERE COALESCE(p.count, 0) < w.count
        ), unused AS MATERIALIZED (
            SELECT f.ctid AS place FROM short s JOIN fallback_keys f ON f.ctid = s.place
            WHERE NOT f.used
            FOR UPDATE OF f SKIP LOCKED
        ), used AS (
            UPDATE fallback_keys f SET used = true FROM unused u WHERE f.ctid = u.place
        )
        SELECT device AS "device!", key_id AS "key_id!", key AS "key!", false AS "is_fallback!", true AS "is_reduced!"
        FROM deleted
        UNION ALL
        SELECT device, key_id, key, true, NOT used FROM short"#,
        &user_ids as &[&str],
        &device_ids as &[&str],
        &algorithms as &[&str],
        &counts,
    )
    .fetch_all(db)
    .await?;
    Ok(rows)
}
