//! The servers that something is sent to: which process sends, the transaction under way, back-off.
//!
//! A process claims a server for some time. Everything that it writes checks the claim: a process
//! that was suspended and whose claim another has taken over writes nothing.

use std::time::Duration;

use ruma::{OwnedEventId, OwnedServerName, ServerName};

use crate::{Connection, Error, cluster::Process, leases::milliseconds, rows::id};

/// The most that one transaction holds.
///
/// Spec: server-server, "Transactions".
const MAX_PDUS: i64 = 50;
const MAX_EDUS: i64 = 100;
/// What the events of a transaction take at the most, and as much its EDUs, in bytes; one that is larger goes
/// on its own. Together they are below the megabyte that reverse proxies let through by default.
const MAX_BYTES: i64 = 400 * 1024;
/// A server is tried no sooner after a failure, even if it is known to be there again.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// A server that this process sends to.
#[derive(Clone, Debug)]
pub struct ClaimedDestination {
    /// Its name.
    pub server_name: OwnedServerName,
    /// How often in a row sending has failed.
    pub failures: i32,
    token: i64,
}

/// What is sent at once.
#[derive(Clone, Debug)]
pub struct OutgoingTransaction {
    /// Its id, the same whenever it is repeated.
    pub transaction_id: String,
    /// Events in the order of the stream.
    pub pdus: Vec<OutgoingPdu>,
    /// The rest, in order.
    pub edus: Vec<OutgoingEdu>,
}

/// An event that is sent.
#[derive(Clone, Debug)]
pub struct OutgoingPdu {
    position: i64,
    /// Its id.
    pub event_id: OwnedEventId,
    /// The event.
    pub json: String,
}

/// Something else that is sent.
#[derive(Clone, Debug)]
pub struct OutgoingEdu {
    edu_nid: i64,
    /// The EDU.
    pub json: String,
}

impl OutgoingTransaction {
    /// How much is in it.
    pub fn len(&self) -> usize {
        self.pdus.len() + self.edus.len()
    }

    /// Whether nothing is in it: what was in it is known no more.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is to be sent first, and the rest, as transactions of these ids.
    #[must_use]
    pub fn split(mut self, ids: [String; 2]) -> [Self; 2] {
        let half = self.len().div_ceil(2);
        let pdus = self.pdus.split_off(half.min(self.pdus.len()));
        let edus = self.edus.split_off(half - self.pdus.len());
        let [first_id, second_id] = ids;
        let first = Self {
            transaction_id: first_id,
            ..self
        };
        let second = Self {
            transaction_id: second_id,
            pdus,
            edus,
        };
        [first, second]
    }
}

/// How many servers are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DestinationCounts {
    /// All queues are empty.
    pub idle: i64,
    /// Something waits or is being sent.
    pub active: i64,
    /// The last attempt failed.
    pub failing: i64,
}

/// Claims servers that something can be sent to now and that no other process sends to, those first
/// that have been due longest.
pub async fn claim(
    db: &mut Connection,
    holder: Process,
    limit: i64,
    time: Duration,
) -> Result<Vec<ClaimedDestination>, Error> {
    let rows = sqlx::query!(
        "UPDATE destinations SET holder = $1, token = token + 1,
            lease_expires_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
         WHERE server_name IN (
            SELECT server_name FROM destinations
            WHERE has_work AND retry_at <= clock_timestamp() AND lease_expires_at <= clock_timestamp()
            ORDER BY retry_at LIMIT $2 FOR UPDATE SKIP LOCKED
         )
         RETURNING server_name, failures, token",
        holder.number,
        limit,
        milliseconds(time)
    )
    .fetch_all(db)
    .await?;
    let rows = rows.into_iter().map(|row| {
        Ok(ClaimedDestination {
            server_name: id(row.server_name)?,
            failures: row.failures,
            token: row.token,
        })
    });
    rows.collect()
}

/// The time until the next back-off ends.
pub async fn next_retry(db: &mut Connection) -> Result<Option<Duration>, Error> {
    let wait = sqlx::query_scalar!(
        r#"SELECT ceil(extract(epoch FROM min(retry_at) - clock_timestamp()) * 1000)::bigint AS wait
         FROM destinations WHERE has_work AND retry_at > clock_timestamp()"#
    )
    .fetch_one(db)
    .await?;
    Ok(wait.map(|wait| Duration::from_millis(u64::try_from(wait).unwrap_or_default())))
}

/// Servers that are not tried before some time is over.
pub async fn backed_off(db: &mut Connection, limit: i64) -> Result<Vec<OwnedServerName>, Error> {
    let names = sqlx::query_scalar!(
        "SELECT server_name FROM destinations WHERE has_work AND retry_at > clock_timestamp() LIMIT $1",
        limit
    )
    .fetch_all(db)
    .await?;
    names.into_iter().map(id).collect()
}

/// Ends the back-off of servers.
pub async fn end_back_off(db: &mut Connection, servers: &[OwnedServerName]) -> Result<(), Error> {
    let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
    sqlx::query!(
        "UPDATE destinations SET retry_at = failed_at + $2::bigint * interval '1 millisecond'
         WHERE server_name = ANY($1) AND retry_at > failed_at + $2::bigint * interval '1 millisecond'",
        &servers,
        milliseconds(SHORTEST_PAUSE)
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How many servers are in which state.
pub async fn counts(db: &mut Connection) -> Result<DestinationCounts, Error> {
    let counts = sqlx::query_as!(
        DestinationCounts,
        r#"SELECT count(*) FILTER (WHERE NOT has_work) AS "idle!",
            count(*) FILTER (WHERE has_work AND failures = 0) AS "active!",
            count(*) FILTER (WHERE has_work AND failures > 0) AS "failing!"
         FROM destinations"#
    )
    .fetch_one(db)
    .await?;
    Ok(counts)
}

/// How many events wait for a server.
pub async fn queued_pdus(db: &mut Connection, server_name: &ServerName) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM queued_pdus WHERE server_name = $1"#,
        server_name.as_str()
    )
    .fetch_one(db)
    .await?;
    Ok(count)
}

struct Row {
    transaction_id: Option<String>,
    pdu_positions: Vec<i64>,
    edu_nids: Vec<i64>,
}

impl ClaimedDestination {
    /// The transaction that is not known to have arrived, or else a new one of that id with what
    /// has waited longest; keeps the claim for some more time. When nothing waits, the claim ends.
    ///
    /// To be called in a transaction that is committed before the result is sent.
    #[tracing::instrument(name = "storage.destinations.begin", level = "debug", skip_all)]
    pub async fn begin(
        &self,
        db: &mut Connection,
        new_id: &str,
        time: Duration,
    ) -> Result<Option<OutgoingTransaction>, Error> {
        // Whoever fills the queues locks the row, too.
        let row = sqlx::query_as!(
            Row,
            "UPDATE destinations SET lease_expires_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
             WHERE server_name = $1 AND token = $2 RETURNING transaction_id, pdu_positions, edu_nids",
            self.server_name.as_str(),
            self.token,
            milliseconds(time)
        )
        .fetch_optional(&mut *db)
        .await?
        .ok_or_else(|| self.lost())?;
        if let Some(transaction_id) = row.transaction_id {
            let found = self.read(db, transaction_id, &row.pdu_positions, &row.edu_nids);
            return Ok(Some(found.await?));
        }
        let (positions, edus) = self.longest_waiting(&mut *db).await?;
        if positions.is_empty() && edus.is_empty() {
            sqlx::query!(
                "UPDATE destinations SET has_work = false, lease_expires_at = '-infinity' WHERE server_name = $1",
                self.server_name.as_str()
            )
            .execute(db)
            .await?;
            return Ok(None);
        }
        sqlx::query!(
            "UPDATE destinations SET transaction_id = $2, pdu_positions = $3, edu_nids = $4 WHERE server_name = $1",
            self.server_name.as_str(),
            new_id,
            &positions,
            &edus
        )
        .execute(&mut *db)
        .await?;
        Ok(Some(
            self.read(db, new_id.to_owned(), &positions, &edus).await?,
        ))
    }

    /// What has waited longest, as much as a transaction holds.
    async fn longest_waiting(&self, db: &mut Connection) -> Result<(Vec<i64>, Vec<i64>), Error> {
        let positions = sqlx::query_scalar!(
            r#"SELECT position AS "position!" FROM (
                SELECT position, row_number() OVER w AS place, sum(bytes) OVER w AS bytes
                FROM (
                    SELECT q.position, octet_length(e.json) AS bytes
                    FROM queued_pdus q LEFT JOIN events e ON e.event_nid = q.event_nid
                    WHERE q.server_name = $1 ORDER BY q.position LIMIT $2
                ) AS first
                WINDOW w AS (ORDER BY position)
             ) AS waiting
             WHERE place = 1 OR bytes <= $3 ORDER BY position"#,
            self.server_name.as_str(),
            MAX_PDUS,
            MAX_BYTES
        )
        .fetch_all(&mut *db)
        .await?;
        let edus = sqlx::query_scalar!(
            r#"SELECT edu_nid AS "edu_nid!" FROM (
                SELECT edu_nid, row_number() OVER w AS place, sum(bytes) OVER w AS bytes
                FROM (
                    SELECT edu_nid, octet_length(content) AS bytes
                    FROM queued_edus
                    WHERE server_name = $1 AND (expires_at IS NULL OR expires_at > clock_timestamp())
                    ORDER BY edu_nid LIMIT $2
                ) AS first
                WINDOW w AS (ORDER BY edu_nid)
             ) AS waiting
             WHERE place = 1 OR bytes <= $3 ORDER BY edu_nid"#,
            self.server_name.as_str(),
            MAX_EDUS,
            MAX_BYTES
        )
        .fetch_all(db)
        .await?;
        Ok((positions, edus))
    }

    async fn read(
        &self,
        db: &mut Connection,
        transaction_id: String,
        positions: &[i64],
        edus: &[i64],
    ) -> Result<OutgoingTransaction, Error> {
        let pdus = sqlx::query!(
            "SELECT q.position, e.event_id, e.json FROM queued_pdus q JOIN events e ON e.event_nid = q.event_nid
             WHERE q.server_name = $1 AND q.position = ANY($2) ORDER BY q.position",
            self.server_name.as_str(),
            positions
        )
        .fetch_all(&mut *db)
        .await?;
        let pdus = pdus.into_iter().map(|row| {
            Ok(OutgoingPdu {
                position: row.position,
                event_id: id(row.event_id)?,
                json: row.json,
            })
        });
        let edus = sqlx::query_as!(
            OutgoingEdu,
            "SELECT edu_nid, content AS json FROM queued_edus WHERE edu_nid = ANY($1) ORDER BY edu_nid",
            edus
        )
        .fetch_all(db)
        .await?;
        Ok(OutgoingTransaction {
            transaction_id,
            pdus: pdus.collect::<Result<_, Error>>()?,
            edus,
        })
    }

    /// Sends a part of the transaction under way in its place; the rest waits in the queues. Keeps the claim
    /// for some more time.
    ///
    /// To be called in a transaction that is committed before the part is sent.
    pub async fn narrow(
        &self,
        db: &mut Connection,
        part: &OutgoingTransaction,
        time: Duration,
    ) -> Result<(), Error> {
        let positions: Vec<i64> = part.pdus.iter().map(|pdu| pdu.position).collect();
        let edus: Vec<i64> = part.edus.iter().map(|edu| edu.edu_nid).collect();
        let result = sqlx::query!(
            "UPDATE destinations SET transaction_id = $3, pdu_positions = $4, edu_nids = $5,
                lease_expires_at = clock_timestamp() + $6::bigint * interval '1 millisecond'
             WHERE server_name = $1 AND token = $2",
            self.server_name.as_str(),
            self.token,
            part.transaction_id,
            &positions,
            &edus,
            milliseconds(time)
        )
        .execute(db)
        .await?;
        self.held(result.rows_affected())
    }

    /// Takes out of the queues what has arrived. To be called in a transaction.
    #[tracing::instrument(name = "storage.destinations.arrived", level = "debug", skip_all)]
    pub async fn arrived(&self, db: &mut Connection) -> Result<(), Error> {
        let row = sqlx::query!(
            "SELECT pdu_positions, edu_nids FROM destinations WHERE server_name = $1 AND token = $2 FOR UPDATE",
            self.server_name.as_str(),
            self.token
        )
        .fetch_optional(&mut *db)
        .await?
        .ok_or_else(|| self.lost())?;
        sqlx::query!(
            "DELETE FROM queued_pdus WHERE server_name = $1 AND position = ANY($2)",
            self.server_name.as_str(),
            &row.pdu_positions
        )
        .execute(&mut *db)
        .await?;
        sqlx::query!(
            "DELETE FROM queued_edus WHERE edu_nid = ANY($1) OR (server_name = $2 AND expires_at <= clock_timestamp())",
            &row.edu_nids,
            self.server_name.as_str()
        )
        .execute(&mut *db)
        .await?;
        sqlx::query!(
            "UPDATE destinations SET transaction_id = NULL, pdu_positions = '{}', edu_nids = '{}', failures = 0,
                failing_since = NULL, error = NULL, retry_at = '-infinity', succeeded_at = clock_timestamp()
             WHERE server_name = $1",
            self.server_name.as_str()
        )
        .execute(db)
        .await?;
        Ok(())
    }

    /// Ends the claim after a failure; nothing is sent for some time.
    pub async fn failed(
        &self,
        db: &mut Connection,
        pause: Duration,
        error: &str,
    ) -> Result<(), Error> {
        let result = sqlx::query!(
            "UPDATE destinations SET failures = failures + 1, failed_at = clock_timestamp(), error = $4,
                failing_since = COALESCE(failing_since, clock_timestamp()), lease_expires_at = '-infinity',
                retry_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
             WHERE server_name = $1 AND token = $2",
            self.server_name.as_str(),
            self.token,
            milliseconds(pause),
            error
        )
        .execute(db)
        .await?;
        self.held(result.rows_affected())
    }

    /// If more than `limit` events wait, leaves the last one of each room besides those of the
    /// transaction under way: with it the server finds out what else it has missed. Of the
    /// rest, receipts and typing notifications are taken away. Returns how many events it took away.
    #[tracing::instrument(name = "storage.destinations.shorten", level = "debug", skip_all)]
    pub async fn shorten(&self, db: &mut Connection, limit: i64) -> Result<u64, Error> {
        if queued_pdus(&mut *db, &self.server_name).await? <= limit {
            return Ok(0);
        }
        let deleted = sqlx::query!(
            "DELETE FROM queued_pdus q
             USING destinations d, (
                SELECT room_nid, max(position) AS position FROM queued_pdus WHERE server_name = $1 GROUP BY room_nid
             ) AS last
             WHERE d.server_name = $1 AND q.server_name = $1 AND q.room_nid = last.room_nid
                AND q.position < last.position AND q.position <> ALL(d.pdu_positions)",
            self.server_name.as_str()
        )
        .execute(&mut *db)
        .await?;
        sqlx::query!(
            "DELETE FROM queued_edus WHERE server_name = $1 AND (key LIKE 'm.receipt %' OR expires_at IS NOT NULL)",
            self.server_name.as_str()
        )
        .execute(db)
        .await?;
        Ok(deleted.rows_affected())
    }

    /// Keeps the claim for some more time.
    pub async fn renew(&self, db: &mut Connection, time: Duration) -> Result<(), Error> {
        let result = sqlx::query!(
            "UPDATE destinations SET lease_expires_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
             WHERE server_name = $1 AND token = $2",
            self.server_name.as_str(),
            self.token,
            milliseconds(time)
        )
        .execute(db)
        .await?;
        self.held(result.rows_affected())
    }

    /// Lets any process send to the server at once.
    pub async fn release(&self, db: &mut Connection) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE destinations SET lease_expires_at = '-infinity' WHERE server_name = $1 AND token = $2",
            self.server_name.as_str(),
            self.token
        )
        .execute(db)
        .await?;
        Ok(())
    }

    fn held(&self, rows: u64) -> Result<(), Error> {
        if rows == 1 { Ok(()) } else { Err(self.lost()) }
    }

    fn lost(&self) -> Error {
        Error::LeaseLost {
            name: format!("destination {}", self.server_name),
        }
    }
}
