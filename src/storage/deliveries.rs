//! The queues of what is sent to other servers: filled by one follower of the stream, emptied
//! through [`destinations`](crate::destinations).

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use ruma::{OwnedRoomId, OwnedServerName};
use types::{EventNid, RoomNid, StreamPosition};

use crate::{
    Connection, Error, events::Span, leases::milliseconds, rows::id, state_deltas,
    stream::StateDelta,
};

/// A room with users of other servers.
#[derive(Clone, Debug)]
pub struct SharedRoom {
    /// Its id.
    pub room_id: OwnedRoomId,
    /// The event that sets its server ACL now, JSON, if there is one.
    pub server_acl: Option<String>,
}

/// How many users of each server are joined to a room.
pub type JoinedServers = HashMap<OwnedServerName, i64>;

/// An event in the queue of a server.
#[derive(Clone, Debug)]
pub struct QueuedPdu {
    /// The server.
    pub server_name: OwnedServerName,
    /// The event's place in the stream.
    pub position: StreamPosition,
    /// Its room.
    pub room_nid: RoomNid,
    /// Its number.
    pub event_nid: EventNid,
}

/// Something else in the queue of a server.
#[derive(Clone, Debug)]
pub struct NewEdu {
    /// The server.
    pub server_name: OwnedServerName,
    /// What identifies those that replace each other; none of one that must arrive.
    pub key: Option<String>,
    /// The EDU, a JSON object.
    pub content: String,
}

/// How many users of each server are joined to these rooms now.
#[tracing::instrument(name = "storage.deliveries.joined_servers", level = "debug", skip_all)]
pub async fn joined_servers(
    db: &mut Connection,
    rooms: &[RoomNid],
) -> Result<HashMap<RoomNid, JoinedServers>, Error> {
    let room_nids: Vec<i64> = rooms.iter().map(|nid| nid.get()).collect();
    let rows = sqlx::query!(
        r#"SELECT room_nid, substr(user_id, strpos(user_id, ':') + 1) AS "server_name!", count(*) AS "joined!"
         FROM memberships WHERE room_nid = ANY($1) AND membership = 'join' GROUP BY 1, 2"#,
        &room_nids
    )
    .fetch_all(db)
    .await?;
    let mut joined: HashMap<RoomNid, JoinedServers> = HashMap::new();
    for row in rows {
        // Old rooms have members that are no users of any server.
        if let Ok(server_name) = OwnedServerName::try_from(row.server_name) {
            let room = joined.entry(RoomNid(row.room_nid)).or_default();
            room.insert(server_name, row.joined);
        }
    }
    Ok(joined)
}

/// The servers with users who are joined to these rooms now, and those that are said to be in them while
/// their members are not known.
pub async fn servers_in_rooms(
    db: &mut Connection,
    rooms: &[RoomNid],
) -> Result<HashMap<RoomNid, BTreeSet<OwnedServerName>>, Error> {
    let room_nids: Vec<i64> = rooms.iter().map(|nid| nid.get()).collect();
    let rows = sqlx::query!(
        r#"SELECT room_nid AS "room_nid!", substr(user_id, strpos(user_id, ':') + 1) AS "server_name!"
         FROM memberships WHERE room_nid = ANY($1) AND membership = 'join'
         UNION
         SELECT room_nid, UNNEST(servers) FROM partial_states WHERE room_nid = ANY($1) AND completed_at IS NULL"#,
        &room_nids
    )
    .fetch_all(db)
    .await?;
    let mut servers: HashMap<RoomNid, BTreeSet<OwnedServerName>> = HashMap::new();
    for row in rows {
        // Old rooms have members that are no users of any server.
        if let Ok(server_name) = OwnedServerName::try_from(row.server_name) {
            let room = servers.entry(RoomNid(row.room_nid)).or_default();
            room.insert(server_name);
        }
    }
    Ok(servers)
}

/// What is to be known of rooms to send to their servers.
pub async fn rooms(
    db: &mut Connection,
    rooms: &[RoomNid],
) -> Result<HashMap<RoomNid, SharedRoom>, Error> {
    let room_nids: Vec<i64> = rooms.iter().map(|nid| nid.get()).collect();
    let rows = sqlx::query!(
        r#"SELECT r.room_nid, r.room_id, e.json AS "server_acl?"
         FROM rooms r
         LEFT JOIN current_state c
            ON c.room_nid = r.room_nid AND c.event_type = 'm.room.server_acl' AND c.state_key = ''
         LEFT JOIN events e ON e.event_nid = c.event_nid
         WHERE r.room_nid = ANY($1)"#,
        &room_nids
    )
    .fetch_all(db)
    .await?;
    let rooms = rows.into_iter().map(|row| {
        let room = SharedRoom {
            room_id: id(row.room_id)?,
            server_acl: row.server_acl,
        };
        Ok((RoomNid(row.room_nid), room))
    });
    rooms.collect()
}

/// What changed in the state of these rooms after `from`, in order.
pub async fn state_since(
    db: &mut Connection,
    rooms: &[RoomNid],
    from: StreamPosition,
) -> Result<Vec<(StreamPosition, StateDelta)>, Error> {
    let spans = rooms.iter().map(|room_nid| Span {
        room_nid: *room_nid,
        after: from,
        until: StreamPosition(i64::MAX),
    });
    state_deltas::each(db, &spans.collect::<Vec<_>>()).await
}

/// Puts events into queues, and the servers to work.
#[tracing::instrument(name = "storage.deliveries.queue_pdus", level = "debug", skip_all)]
pub async fn queue_pdus(db: &mut Connection, pdus: &[QueuedPdu]) -> Result<(), Error> {
    let servers: Vec<String> = pdus.iter().map(|pdu| pdu.server_name.to_string()).collect();
    let positions: Vec<i64> = pdus.iter().map(|pdu| pdu.position.get()).collect();
    let room_nids: Vec<i64> = pdus.iter().map(|pdu| pdu.room_nid.get()).collect();
    let event_nids: Vec<i64> = pdus.iter().map(|pdu| pdu.event_nid.get()).collect();
    // The servers' rows are locked in one order, as in `announce`.
    sqlx::query!(
        "WITH announced AS (
            INSERT INTO destinations AS d (server_name, has_work)
            SELECT DISTINCT server_name, true FROM UNNEST($1::text[]) AS r (server_name) ORDER BY server_name
            ON CONFLICT (server_name) DO UPDATE SET has_work = true WHERE NOT d.has_work
         )
         INSERT INTO queued_pdus (server_name, position, room_nid, event_nid)
         SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])",
        &servers,
        &positions,
        &room_nids,
        &event_nids
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Puts what else is sent into queues, in this order, and the servers to work.
#[tracing::instrument(name = "storage.deliveries.queue_edus", level = "debug", skip_all)]
pub async fn queue_edus(db: &mut Connection, edus: &[NewEdu]) -> Result<(), Error> {
    queue(db, edus, None).await
}

/// The same of what is worth sending for some time only; nothing of it is for servers that cannot be
/// reached now.
pub async fn queue_ephemeral_edus(
    db: &mut Connection,
    mut edus: Vec<NewEdu>,
    lifetime: Duration,
) -> Result<(), Error> {
    let servers: Vec<String> = edus.iter().map(|edu| edu.server_name.to_string()).collect();
    let failing: HashSet<String> = sqlx::query_scalar!(
        "SELECT server_name FROM destinations WHERE server_name = ANY($1) AND failures > 0",
        &servers
    )
    .fetch_all(&mut *db)
    .await?
    .into_iter()
    .collect();
    edus.retain(|edu| !failing.contains(edu.server_name.as_str()));
    if edus.is_empty() {
        return Ok(());
    }
    queue(db, &edus, Some(lifetime)).await
}

async fn queue(
    db: &mut Connection,
    edus: &[NewEdu],
    lifetime: Option<Duration>,
) -> Result<(), Error> {
    let servers: Vec<String> = edus.iter().map(|edu| edu.server_name.to_string()).collect();
    announce(&mut *db, &servers).await?;
    let keys: Vec<Option<String>> = edus.iter().map(|edu| edu.key.clone()).collect();
    let contents: Vec<String> = edus.iter().map(|edu| edu.content.clone()).collect();
    // A row is replaced, not changed: the old one may be in a transaction under way.
    sqlx::query!(
        "DELETE FROM queued_edus q USING UNNEST($1::text[], $2::text[]) AS r (server_name, key)
         WHERE q.server_name = r.server_name AND q.key = r.key",
        &servers,
        &keys as &[Option<String>]
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "INSERT INTO queued_edus (server_name, key, content, expires_at)
         SELECT server_name, key, content, clock_timestamp() + $4::bigint * interval '1 millisecond'
         FROM UNNEST($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS r (server_name, key, content, place)
         ORDER BY place",
        &servers,
        &keys as &[Option<String>],
        &contents,
        lifetime.map(milliseconds)
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Locks the rows of servers, in one order, and says that there is something for them.
async fn announce(db: &mut Connection, servers: &[String]) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO destinations AS d (server_name, has_work)
         SELECT DISTINCT server_name, true FROM UNNEST($1::text[]) AS r (server_name) ORDER BY server_name
         ON CONFLICT (server_name) DO UPDATE SET has_work = true WHERE NOT d.has_work",
        servers
    )
    .execute(db)
    .await?;
    Ok(())
}
