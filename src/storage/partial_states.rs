//! Rooms that were joined without the events of most members, until their whole state is known.
//!
//! MSC3706, MSC3902. One process at a time works on a room, by a lease.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use ruma::{OwnedRoomId, OwnedServerName, ServerName};
use types::{EventNid, RoomNid, StreamPosition};

use crate::{Change, Connection, Error, leases::milliseconds, rows::id};

/// The servers that are said to be in a room: `servers_in_room` of the response to `send_join`.
pub type StatedServers = Arc<BTreeSet<OwnedServerName>>;

/// A room of whose state parts are not known.
#[derive(Clone, Debug)]
pub struct PartialState {
    /// The joins before which the state is not known, the first of them first.
    pub join_nids: Vec<EventNid>,
    /// The servers that were joined through.
    pub via: Vec<OwnedServerName>,
    /// The servers that are said to be in the room.
    pub servers: StatedServers,
}

/// A room whose state this process is to complete, until the lease runs out.
#[derive(Clone, Debug)]
pub struct ClaimedRoom {
    /// The room.
    pub room_nid: RoomNid,
    /// Its id.
    pub room_id: OwnedRoomId,
    /// How often in a row it has failed.
    pub failures: i32,
    token: i64,
}

/// The servers that were said to be in a room, and between which positions that counted.
#[derive(Clone, Debug)]
pub struct StatedSpan {
    /// The servers.
    pub servers: StatedServers,
    /// After this.
    pub since: StreamPosition,
    /// Up to and including this; none while parts of the state are not known.
    pub completed_at: Option<StreamPosition>,
    /// The servers that were in the room for a while without being believed to be.
    pub missed: Vec<OwnedServerName>,
}

impl StatedSpan {
    /// Whether the servers counted as being in the room at a position.
    pub fn contains(&self, position: StreamPosition) -> bool {
        self.since < position && self.completed_at.is_none_or(|end| position <= end)
    }
}

fn names(names: Vec<String>) -> Result<Vec<OwnedServerName>, Error> {
    names.into_iter().map(id).collect()
}

pub(crate) fn server_set(servers: Vec<String>) -> Result<StatedServers, Error> {
    let servers: Result<BTreeSet<OwnedServerName>, Error> = servers.into_iter().map(id).collect();
    Ok(Arc::new(servers?))
}

/// What is not known of a room's state; none if all is.
pub async fn find(db: &mut Connection, room_nid: RoomNid) -> Result<Option<PartialState>, Error> {
    let row = sqlx::query!(
        "SELECT join_nids, via, servers FROM partial_states WHERE room_nid = $1 AND completed_at IS NULL",
        room_nid.get()
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    Ok(Some(PartialState {
        join_nids: row.join_nids.into_iter().map(EventNid).collect(),
        via: names(row.via)?,
        servers: server_set(row.servers)?,
    }))
}

/// Where parts of the state of rooms became unknown, and where all became known.
pub(crate) async fn between(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
) -> Result<Vec<(StreamPosition, Change)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT since AS "position!", room_nid AS "room_nid!", servers
         FROM partial_states WHERE since > $1 AND since <= $2
         UNION ALL
         SELECT completed_at, room_nid, NULL FROM partial_states WHERE completed_at > $1 AND completed_at <= $2"#,
        from.get(),
        to.get()
    )
    .fetch_all(db)
    .await?;
    let changes = rows.into_iter().map(|row| {
        let change = Change::PartialState {
            room_nid: RoomNid(row.room_nid),
            servers: row.servers.map(server_set).transpose()?,
        };
        Ok((StreamPosition(row.position), change))
    });
    changes.collect()
}

/// The servers that were said to be in rooms after a position, or since.
pub async fn stated_servers(
    db: &mut Connection,
    rooms: &[RoomNid],
    after: StreamPosition,
) -> Result<HashMap<RoomNid, StatedSpan>, Error> {
    let rooms: Vec<i64> = rooms.iter().map(|nid| nid.get()).collect();
    let rows = sqlx::query!(
        "SELECT room_nid, servers, since, completed_at, missed FROM partial_states
         WHERE room_nid = ANY($1) AND (completed_at IS NULL OR completed_at > $2)",
        &rooms,
        after.get()
    )
    .fetch_all(db)
    .await?;
    let spans = rows.into_iter().map(|row| {
        let span = StatedSpan {
            servers: server_set(row.servers)?,
            since: StreamPosition(row.since),
            completed_at: row.completed_at.map(StreamPosition),
            missed: names(row.missed)?,
        };
        Ok((RoomNid(row.room_nid), span))
    });
    spans.collect()
}

/// Whether a server is said to be in a room whose members are not known.
pub async fn is_stated_server(db: &mut Connection, server: &ServerName) -> Result<bool, Error> {
    let is_stated = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM partial_states WHERE completed_at IS NULL AND $1 = ANY(servers)) AS "is_stated!""#,
        server.as_str()
    )
    .fetch_one(db)
    .await?;
    Ok(is_stated)
}

/// Claims rooms whose state is to be completed, for some time; those first that have waited longest.
pub async fn claim(
    db: &mut Connection,
    limit: i64,
    time: Duration,
) -> Result<Vec<ClaimedRoom>, Error> {
    let rows = sqlx::query!(
        "UPDATE partial_states p SET token = p.token + 1,
            lease_expires_at = clock_timestamp() + $2::bigint * interval '1 millisecond'
         FROM rooms r
         WHERE r.room_nid = p.room_nid AND p.room_nid IN (
            SELECT room_nid FROM partial_states
            WHERE completed_at IS NULL AND retry_at <= clock_timestamp() AND lease_expires_at <= clock_timestamp()
            ORDER BY retry_at LIMIT $1 FOR UPDATE SKIP LOCKED
         )
         RETURNING p.room_nid, r.room_id, p.failures, p.token",
        limit,
        milliseconds(time)
    )
    .fetch_all(db)
    .await?;
    let rooms = rows.into_iter().map(|row| {
        Ok(ClaimedRoom {
            room_nid: RoomNid(row.room_nid),
            room_id: id(row.room_id)?,
            failures: row.failures,
            token: row.token,
        })
    });
    rooms.collect()
}

/// The time until a room may be claimed, if there is one whose state is to be completed.
pub async fn next_claim(db: &mut Connection) -> Result<Option<Duration>, Error> {
    let wait = sqlx::query_scalar!(
        r#"SELECT ceil(extract(epoch FROM min(GREATEST(retry_at, lease_expires_at)) - clock_timestamp()) * 1000)::bigint AS wait
         FROM partial_states WHERE completed_at IS NULL AND GREATEST(retry_at, lease_expires_at) > clock_timestamp()"#
    )
    .fetch_one(db)
    .await?;
    Ok(wait.map(|wait| Duration::from_millis(u64::try_from(wait).unwrap_or_default())))
}

/// How many rooms there are whose state is to be completed.
pub async fn count(db: &mut Connection) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM partial_states WHERE completed_at IS NULL"#
    )
    .fetch_one(db)
    .await?;
    Ok(count)
}

impl ClaimedRoom {
    /// Makes the lease last for some time from now; `false` if another process has taken it.
    pub async fn renew(&self, db: &mut Connection, time: Duration) -> Result<bool, Error> {
        let result = sqlx::query!(
            "UPDATE partial_states SET lease_expires_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
             WHERE room_nid = $1 AND token = $2",
            self.room_nid.get(),
            self.token,
            milliseconds(time)
        )
        .execute(db)
        .await?;
        Ok(result.rows_affected() == 1)
    }

    /// Lets the room be claimed again after a pause, having failed.
    pub async fn failed(&self, db: &mut Connection, pause: Duration) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE partial_states SET failures = failures + 1, lease_expires_at = '-infinity',
                retry_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
             WHERE room_nid = $1 AND token = $2",
            self.room_nid.get(),
            self.token,
            milliseconds(pause)
        )
        .execute(db)
        .await?;
        Ok(())
    }

    /// Lets the room be claimed again at once.
    pub async fn release(&self, db: &mut Connection) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE partial_states SET lease_expires_at = '-infinity' WHERE room_nid = $1 AND token = $2",
            self.room_nid.get(),
            self.token
        )
        .execute(db)
        .await?;
        Ok(())
    }
}
