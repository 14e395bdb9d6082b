//! Who is in which room now.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId, events::room::member::MembershipState,
};
use types::{EventNid, RoomNid, StreamPosition};

use crate::{
    Connection, Error,
    escape::{escape, unescape},
    rows::id,
};

/// A user's relation to a room.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The room.
    pub room_nid: RoomNid,
    /// The room's id.
    pub room_id: OwnedRoomId,
    /// What the user is to it.
    pub membership: MembershipState,
    /// Who set it.
    pub sender: OwnedUserId,
    /// The event that says so.
    pub event_nid: EventNid,
    /// Since when: stays while a member only changes name or picture.
    pub position: StreamPosition,
    /// Whether the user, having left, has forgotten the room.
    pub forgotten: bool,
}

impl Membership {
    /// Whether someone else removed the user from the room: by a kick or a ban.
    pub fn was_removed(&self, user_id: &UserId) -> bool {
        match self.membership {
            MembershipState::Ban => true,
            MembershipState::Leave => self.sender != *user_id,
            _ => false,
        }
    }
}

struct Row {
    room_nid: i64,
    room_id: String,
    membership: String,
    sender: String,
    event_nid: i64,
    position: i64,
    forgotten: bool,
}

impl TryFrom<Row> for Membership {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            room_nid: RoomNid(row.room_nid),
            room_id: id(row.room_id)?,
            membership: MembershipState::from(row.membership),
            sender: id(unescape(row.sender))?,
            event_nid: EventNid(row.event_nid),
            position: StreamPosition(row.position),
            forgotten: row.forgotten,
        })
    }
}

/// All rooms that the user ever had to do with.
pub async fn of_user(db: &mut Connection, user_id: &UserId) -> Result<Vec<Membership>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT room_nid, room_id, membership, sender, event_nid, position, forgotten
         FROM memberships JOIN rooms USING (room_nid) WHERE user_id = $1",
        &*escape(user_id.as_str())
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(Membership::try_from).collect()
}

/// The user's relation to one room.
pub async fn find(
    db: &mut Connection,
    room_id: &RoomId,
    user_id: &UserId,
) -> Result<Option<Membership>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT room_nid, room_id, membership, sender, event_nid, position, forgotten
         FROM memberships JOIN rooms USING (room_nid) WHERE room_id = $1 AND user_id = $2",
        room_id.as_str(),
        &*escape(user_id.as_str())
    )
    .fetch_optional(db)
    .await?;
    row.map(Membership::try_from).transpose()
}

/// The ids of the rooms that the user is joined to.
pub async fn joined_rooms(
    db: &mut Connection,
    user_id: &UserId,
) -> Result<Vec<OwnedRoomId>, Error> {
    let rows = sqlx::query_scalar!(
        "SELECT room_id FROM memberships JOIN rooms USING (room_nid)
         WHERE user_id = $1 AND membership = 'join' ORDER BY room_nid",
        &*escape(user_id.as_str())
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(id).collect()
}

/// The rooms that each of these users is joined to.
pub async fn joined_rooms_by_user<'u>(
    db: &mut Connection,
    user_ids: impl IntoIterator<Item = &'u OwnedUserId>,
) -> Result<BTreeMap<OwnedUserId, BTreeSet<RoomNid>>, Error> {
    let user_ids = user_ids.into_iter();
    let user_ids: Vec<String> = user_ids
        .map(|user_id| escape(user_id.as_str()))
        .map(Cow::into_owned)
        .collect();
    let rows = sqlx::query!(
        "SELECT user_id, room_nid FROM memberships WHERE user_id = ANY($1) AND membership = 'join'",
        &user_ids
    )
    .fetch_all(db)
    .await?;
    let mut rooms: BTreeMap<OwnedUserId, BTreeSet<RoomNid>> = BTreeMap::new();
    for row in rows {
        let of_user = rooms.entry(id(unescape(row.user_id))?).or_default();
        of_user.insert(RoomNid(row.room_nid));
    }
    Ok(rooms)
}

/// The users of a server who are joined to a room.
pub async fn joined_users_of_server(
    db: &mut Connection,
    room_nid: RoomNid,
    server: &ServerName,
) -> Result<Vec<OwnedUserId>, Error> {
    let users = sqlx::query_scalar!(
        "SELECT user_id FROM memberships
         WHERE room_nid = $1 AND membership = 'join' AND right(user_id, length($2)) = $2",
        room_nid.get(),
        format!(":{server}")
    )
    .fetch_all(db)
    .await?;
    let users = users.into_iter();
    users.map(|user_id| id(unescape(user_id))).collect()
}

/// How many rooms the user is joined to.
pub async fn joined_room_count(db: &mut Connection, user_id: &UserId) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM memberships WHERE user_id = $1 AND membership = 'join'"#,
        &*escape(user_id.as_str())
    )
    .fetch_one(db)
    .await?;
    Ok(count)
}

/// The users who are joined to the room.
pub async fn joined(db: &mut Connection, room_nid: RoomNid) -> Result<Vec<OwnedUserId>, Error> {
    let rows = sqlx::query_scalar!(
        "SELECT user_id FROM memberships WHERE room_nid = $1 AND membership = 'join' ORDER BY user_id",
        room_nid.get()
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|user_id| id(unescape(user_id)))
        .collect()
}

/// The rooms that both users are joined to, in the order in which they became known here.
pub async fn mutual_rooms(
    db: &mut Connection,
    one: &UserId,
    other: &UserId,
) -> Result<Vec<OwnedRoomId>, Error> {
    let rows = sqlx::query_scalar!(
        "SELECT r.room_id FROM memberships m
         JOIN memberships o ON o.room_nid = m.room_nid AND o.user_id = $2 AND o.membership = 'join'
         JOIN rooms r ON r.room_nid = m.room_nid
         WHERE m.user_id = $1 AND m.membership = 'join' ORDER BY m.room_nid",
        &*escape(one.as_str()),
        &*escape(other.as_str())
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(id).collect()
}

/// Whether two users are joined to the same room.
pub async fn share_room(db: &mut Connection, one: &UserId, other: &UserId) -> Result<bool, Error> {
    let shared = sqlx::query_scalar!(
        r#"SELECT EXISTS (
            SELECT FROM memberships m JOIN memberships o USING (room_nid)
            WHERE m.user_id = $1 AND m.membership = 'join' AND o.user_id = $2 AND o.membership = 'join'
         ) AS "shared!""#,
        &*escape(one.as_str()),
        &*escape(other.as_str())
    )
    .fetch_one(db)
    .await?;
    Ok(shared)
}

/// The users who are joined to a room that this user is joined to, the user included.
#[tracing::instrument(name = "storage.memberships.sharing_a_room", level = "debug", skip_all)]
pub async fn sharing_a_room(
    db: &mut Connection,
    user_id: &UserId,
) -> Result<Vec<OwnedUserId>, Error> {
    let rows = sqlx::query_scalar!(
        "SELECT DISTINCT o.user_id FROM memberships m JOIN memberships o USING (room_nid)
         WHERE m.user_id = $1 AND m.membership = 'join' AND o.membership = 'join'",
        &*escape(user_id.as_str())
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|user_id| id(unescape(user_id)))
        .collect()
}

/// Forgets a room that the user has left; `false` when the user is still in it or never was.
pub async fn forget(
    db: &mut Connection,
    room_nid: RoomNid,
    user_id: &UserId,
) -> Result<bool, Error> {
    let result = sqlx::query!(
        "UPDATE memberships SET forgotten = true
         WHERE room_nid = $1 AND user_id = $2 AND membership IN ('leave', 'ban')",
        room_nid.get(),
        &*escape(user_id.as_str())
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// How many users are joined to each of the rooms that has any.
pub async fn joined_counts(
    db: &mut Connection,
    room_nids: &[RoomNid],
) -> Result<Vec<(RoomNid, i64)>, Error> {
    let room_nids: Vec<i64> = room_nids.iter().map(|nid| nid.get()).collect();
    let rows = sqlx::query!(
        r#"SELECT room_nid, count(*) AS "joined!" FROM memberships
         WHERE room_nid = ANY($1) AND membership = 'join' GROUP BY room_nid"#,
        &room_nids
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (RoomNid(row.room_nid), row.joined))
        .collect())
}
