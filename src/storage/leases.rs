//! Leases: of several processes on one database, one at a time holds each name.
//!
//! Time is the database's. A lease that ran out can be taken by another process; its number is
//! higher then (a fencing token). Whoever writes under a lease checks it in the writing transaction
//! ([`Lease::check`]): then nothing is written on behalf of a lease that another process has taken.

use std::time::Duration;

use crate::{Connection, Error, cluster::Process};

/// The right to do what a name stands for, until it runs out or is taken by another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    name: String,
    /// Counts how often the name was taken.
    token: i64,
}

/// Takes the lease of a name for some time; `None` while another holder has it.
pub async fn acquire(
    db: &mut Connection,
    name: &str,
    holder: Process,
    time: Duration,
) -> Result<Option<Lease>, Error> {
    let token = sqlx::query_scalar!(
        "INSERT INTO leases (name, holder, token, expires_at)
         VALUES ($1, $2, 1, clock_timestamp() + $3::bigint * interval '1 millisecond')
         ON CONFLICT (name) DO UPDATE
            SET holder = excluded.holder, token = leases.token + 1, expires_at = excluded.expires_at
            WHERE leases.expires_at <= clock_timestamp()
         RETURNING token",
        name,
        holder.number,
        milliseconds(time)
    )
    .fetch_optional(db)
    .await?;
    Ok(token.map(|token| Lease {
        name: name.to_owned(),
        token,
    }))
}

impl Lease {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn token(&self) -> i64 {
        self.token
    }

    /// Makes the lease last for some time from now; `false` if another process has taken it.
    pub async fn renew(&self, db: &mut Connection, time: Duration) -> Result<bool, Error> {
        let result = sqlx::query!(
            "UPDATE leases SET expires_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
             WHERE name = $1 AND token = $2",
            self.name,
            self.token,
            milliseconds(time)
        )
        .execute(db)
        .await?;
        Ok(result.rows_affected() == 1)
    }

    /// Makes sure, until the transaction ends, that no other process takes the lease; fails if one
    /// has taken it.
    pub async fn check(&self, db: &mut Connection) -> Result<(), Error> {
        let found = sqlx::query_scalar!(
            "SELECT 1 AS one FROM leases WHERE name = $1 AND token = $2 FOR SHARE",
            self.name,
            self.token
        )
        .fetch_optional(db)
        .await?;
        found.map(|_| ()).ok_or_else(|| Error::LeaseLost {
            name: self.name.clone(),
        })
    }

    /// Lets others take the lease at once.
    pub async fn release(self, db: &mut Connection) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE leases SET expires_at = '-infinity' WHERE name = $1 AND token = $2",
            self.name,
            self.token
        )
        .execute(db)
        .await?;
        Ok(())
    }
}

pub(crate) fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
